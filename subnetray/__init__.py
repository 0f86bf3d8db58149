"""subnetray: what RL fine-tuning does to the weights of a language model, measured over factor grids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subnetray.interface import Sweep, run_sweep

__version__ = "0.1.0"
__all__ = ["Sweep", "__version__", "run_sweep"]


def __getattr__(name: str) -> Any:
    """Import what reads sweeps when it is asked for: most of what imports this package has no use for data frames."""
    if name not in ("Sweep", "run_sweep"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from subnetray import interface

    return getattr(interface, name)
