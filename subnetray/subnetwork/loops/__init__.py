"""Compiled loops over the integers that hold weights."""
