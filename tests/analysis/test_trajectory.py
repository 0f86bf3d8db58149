"""Density along a run."""

from __future__ import annotations

import math

import pytest

from subnetray.analysis.trajectory import SHARES, Point, density_along, over_runs


def test_density_at_shares_of_the_steps() -> None:
    measured = [(step, step / 10) for step in range(1, 11)]
    assert density_along(measured, 10) == (0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.mark.parametrize("steps", [5, 15, 55, 180, 1005])
def test_shares_of_a_multiple_of_five_are_whole_steps(steps: int) -> None:
    # 0.2 * 3 is not 0.6 in floating point: rounding up must not go one step too far.
    measured = [(step, float(step)) for step in range(1, steps + 1)]
    assert density_along(measured, steps) == tuple(steps * fifths / 5 for fifths in range(1, 6))


def test_a_share_that_falls_between_two_steps_is_the_later_one() -> None:
    assert density_along([(step, float(step)) for step in range(1, 8)], 7) == (2.0, 3.0, 5.0, 6.0, 7.0)


def test_the_last_measurement_counts_until_the_next() -> None:
    path = density_along([(4, 0.1), (8, 0.2)], 10, SHARES)
    assert math.isnan(path[0])
    assert path[1:] == (0.1, 0.1, 0.2, 0.2)


def test_runs_are_averaged_where_all_of_them_have_measured() -> None:
    runs = [{1: 0.1, 3: 0.5, 2: 0.3}, {1: 0.3, 3: 0.7}]
    assert over_runs(runs) == (Point(1, 0.2, 0.1, 0.3), Point(3, 0.6, 0.5, 0.7))
    assert over_runs([]) == over_runs([{}, {1: 0.1}]) == ()
