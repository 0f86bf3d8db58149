"""Describe one run's update: dynamics, formats, distances, rank, spectrum, geometry."""
