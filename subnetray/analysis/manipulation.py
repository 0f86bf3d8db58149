"""Whether a grid did to its runs what a claim is about; where it did not, the claim is not tested.

A factor that is called KL and moved no KL says nothing about KL. What counts as moved is stated in each claim's test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from subnetray.analysis.contrasts import densities
from subnetray.analysis.effects import values_by_seed
from subnetray.analysis.results import Results

KL_MOVED = 0.25  # of the final policy's KL to the init: what a penalty must change it by
CLIPPED = 0.05  # of steps whose gradient must have been over the limit
GAINED = 0.02  # of held-out greedy accuracy: what training that is said to teach must raise it by
FULL = 0.99  # of density: a fuller update has no room to be denser, or to overlap more than by chance

Cell = Mapping[str, str]


def kl_change(results: Results, cell: Cell, reference: Cell) -> float:
    """Return by what share one cell's final KL to the init exceeds another's: mean over seeds; NaN if unknown."""
    one, other = (values_by_seed(results, each, "kl_to_init") for each in (cell, reference))
    ratios = [one[seed] / other[seed] for seed in sorted(one) if other.get(seed, 0) > 0]
    return math.fsum(ratios) / len(ratios) - 1 if ratios else math.nan


def has_room(results: Results, cells: Iterable[Cell]) -> bool:
    """Return whether the updates of some cells left room to be denser, all of their runs together."""
    known = [density for cell in cells for density in densities(results, cell).values()]
    return bool(known) and math.fsum(known) / len(known) < FULL
