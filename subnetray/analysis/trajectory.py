"""Density along a run, and along the runs of a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Point:
    """The runs of a cell after one step: their mean, and the lowest and highest of them."""

    step: int
    mean: float
    low: float
    high: float


def over_runs(runs: Sequence[Mapping[int, float]]) -> tuple[Point, ...]:
    """The steps that all of ``runs`` (value by step) have measured, in order."""
    if not runs:
        return ()
    points = []
    for step in sorted(set.intersection(*(set(run) for run in runs))):
        values = [run[step] for run in runs]
        points.append(Point(step, math.fsum(values) / len(values), min(values), max(values)))
    return tuple(points)
