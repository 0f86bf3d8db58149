"""A few of the simulated sweeps of ``make truth``: gross errors of an interval or a verdict show in them."""

from __future__ import annotations

import pytest

from tests.analysis.truth import WORLDS, World, simulate


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.key)
def test_verdicts_at_the_limit_are_seldom_decided_and_intervals_hold_the_truth(world: World) -> None:
    assert simulate(world, 20).problems(world) == []


def test_an_interval_that_is_too_narrow_would_show() -> None:
    """A world that is said to have another truth than it has: intervals miss it, and verdicts are decided."""
    world = next(each for each in WORLDS if each.key == "unchanged_were_never_changed")
    off = World(world.key, world.judge, 52.0, columns={"density_ever": lambda cell: 0.72})
    assert simulate(off, 20).problems(off) != []
