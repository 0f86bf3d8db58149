"""A sweep's directory: its columns, the files of its runs, and what is derived from them.

Imports no torch, pyarrow or pandas before a table is written, so that planning stays quick.
"""
