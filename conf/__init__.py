"""The configs: Hydra composes them from ``pkg://subnetray.conf``; ``subnetray.config`` is their schema."""
