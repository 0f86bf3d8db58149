"""List the tensors of files, from headers alone: one kind of file a module."""
