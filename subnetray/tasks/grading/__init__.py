"""How answers are found in a text and compared: what stands in it as its answer, as a number and as mathematics."""
