"""What files weights are stored in: each module lists the tensors of one kind, from headers alone."""
