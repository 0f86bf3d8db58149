"""Tables and figures of a sweep, or of a comparison, from its files.

Importing the package imports nothing: a heat map needs no pandas.
"""
