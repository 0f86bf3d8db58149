"""subnetray: what RL fine-tuning does to the weights of a language model, measured over factor grids."""

__version__ = "0.1.0"
