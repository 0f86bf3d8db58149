"""Restricted runs beside full ones, in made-up sweeps of arms."""

from __future__ import annotations

from typing import Any

import pytest

from subnetray.analysis.claims import restricted
from subnetray.analysis.verdicts import Claim
from tests.analysis.claims.test_conjecture import accuracy, grid_of, table

BETTER, COARSE = "subnetwork_beats_full", "subnetwork_gives_the_same_values_coarsely"


def judge(own: float = 0.1, **columns: Any) -> dict[str, Claim]:
    results = table(grid_of(), accuracy(own=own))
    changes = {
        name: [value if part != "all" else float("nan") for part in results.runs["part"]]
        for name, value in columns.items()
    }
    return {claim.key: claim for claim in restricted.claims(results.among(results.runs.assign(**changes)))}


@pytest.mark.parametrize(("own", "verdict"), [(0.2, "supported"), (0.05, "refuted"), (0.1, "inconclusive")])
def test_restricted_runs_are_better_where_they_gain_more(own: float, verdict: str) -> None:
    found = judge(own)[BETTER]
    assert found.verdict == verdict
    assert found.estimate.mean == pytest.approx(100 * (own - 0.1), abs=0.3)


@pytest.mark.parametrize(
    ("equal", "bound", "verdict"),
    # The mask is 40 % of the weights: a bound of 0.2 of all weights is half of it; equal 0.9 of all, three quarters.
    [(0.9, 0.2, "supported"), (0.8, 0.2, "smaller than the margin"), (0.7, 0.2, "refuted"), (1.0, 0.4, "not tested")],
)
def test_values_within_1e_4_are_beside_what_the_learning_rates_imply(equal: float, bound: float, verdict: str) -> None:
    found = judge(**{"equal_0.0001": equal, "bound_0.0001": bound, "budget": 0.4})[COARSE]
    assert found.verdict == verdict
    if verdict == "not tested":
        assert found.note.startswith("the sum of learning rates alone may hold them equal (")
    else:
        assert found.estimate.mean == pytest.approx(100 * ((equal - 0.6) / 0.4 - bound / 0.4))
