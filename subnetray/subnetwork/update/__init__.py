"""What one run's update is like: dynamics, formats, distances, rank, spectrum, geometry."""
