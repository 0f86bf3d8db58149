"""Density along a run."""

from __future__ import annotations

import math

from subnetray.analysis.trajectory import SHARES, density_along


def test_density_at_shares_of_the_steps() -> None:
    measured = [(step, step / 10) for step in range(1, 11)]
    assert density_along(measured, 10) == (0.2, 0.4, 0.6, 0.8, 1.0)


def test_shares_of_five_steps_are_whole_steps() -> None:
    # 0.6 * 5 is a little more than 3 in floating point.
    assert density_along([(step, float(step)) for step in range(1, 6)], 5) == (1.0, 2.0, 3.0, 4.0, 5.0)


def test_the_last_measurement_counts_until_the_next() -> None:
    path = density_along([(4, 0.1), (8, 0.2)], 10, SHARES)
    assert math.isnan(path[0])
    assert path[1:] == (0.1, 0.1, 0.2, 0.2)
