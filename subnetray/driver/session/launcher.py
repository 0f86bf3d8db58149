"""Detect a launcher that has started several drivers: a driver is one process and starts its own."""

from __future__ import annotations

import os

from subnetray.config import ConfigError

_RANKS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)


def check() -> None:
    """Raise ConfigError if a launcher has started this process as one of several, and not as their first."""
    for rank, size in _RANKS:
        if _number(rank) > 0 and _number(size) > 1:
            raise ConfigError(
                f"{rank}={os.environ[rank]} of {size}={os.environ[size]}: a launcher has started this command several"
                f" times, and it starts its own processes: start it once, without the launcher (or unset {rank})"
            )


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0
