"""Density along a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


def density_along(
    measured: Sequence[tuple[int, float]], steps: int, shares: Sequence[float] = SHARES
) -> tuple[float, ...]:
    """Visible density after each share of ``steps``; ``measured`` holds (step, density) in order of steps.

    Where a step was not measured, the last measurement before it counts; NaN where there is none.
    """
    result = []
    for share in shares:
        until = math.ceil(share * steps)
        before = [density for step, density in measured if step <= until]
        result.append(before[-1] if before else math.nan)
    return tuple(result)
