"""Find answers in texts, and compare them as numbers and as mathematics."""
