"""Faster ways through a vLLM model on a CPU. Without this folder engines work, more slowly."""
