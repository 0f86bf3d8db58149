"""Weights on their way from a run to an engine."""
