"""Files of masks, deltas and scores: container, encoding, fast writing."""
