"""How tensors that two tools store differently belong together: one kind of difference a module."""
