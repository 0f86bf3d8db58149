"""Check an installation and a machine before anything is run on them; imports no torch."""
