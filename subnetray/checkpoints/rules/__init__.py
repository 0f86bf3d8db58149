"""Match tensors that two tools store differently: one kind of difference a module."""
