"""The rank of updates in made-up sweeps."""

from __future__ import annotations

import math

import pytest

from subnetray.analysis.claims import rank
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim
from tests.analysis.judged import ORIGINS
from tests.analysis.tables import make_runs

FULL, CONCENTRATED = "updates_of_full_rank", "updates_concentrated"


def judge(numerical: float = 0.999, energy: float = 0.8, shuffled: float = 0.9) -> dict[str, Claim]:
    runs = make_runs(
        ORIGINS,
        lambda cell, seed: 0.5,
        rank_numerical=lambda cell, seed: numerical + 0.0002 * (seed - 1),
        rank_numerical_shuffled=lambda cell, seed: 1.0,
        rank_energy_99=lambda cell, seed: energy + 0.001 * (seed - 1),
        rank_energy_99_shuffled=lambda cell, seed: shuffled,
    )
    return {claim.key: claim for claim in rank.claims(Results(ORIGINS, runs))}


@pytest.mark.parametrize(("share", "verdict"), [(0.998, "supported"), (0.97, "refuted"), (0.99, "inconclusive")])
def test_nearly_full_is_what_the_paper_reports(share: float, verdict: str) -> None:
    found = judge(numerical=share)[FULL]
    assert (found.verdict, found.note) == (verdict, "of the same entries in random places 100.0 %")
    assert found.estimate.mean == pytest.approx(100 * share)
    assert len(found.runs) == 3


@pytest.mark.parametrize(
    ("energy", "verdict"), [(0.8, "supported"), (0.895, "smaller than the margin"), (0.95, "refuted")]
)
def test_an_update_is_held_beside_its_own_entries_in_random_places(energy: float, verdict: str) -> None:
    found = judge(energy=energy)[CONCENTRATED]
    assert found.verdict == verdict
    assert found.estimate.mean == pytest.approx(100 * (0.9 - energy))
    assert found.note == f"{100 * energy:.1f} against 90.0 % of the full rank"


def test_runs_that_took_no_ranks_say_nothing_of_them() -> None:
    for claim in judge(numerical=math.nan, energy=math.nan).values():
        assert claim.verdict == "not tested"
        assert "measurement.ranks" in claim.note
    old = make_runs(ORIGINS, lambda cell, seed: 0.5).drop(columns=["rank_numerical", "rank_energy_99"])
    assert all(claim.verdict == "not tested" for claim in rank.claims(Results(ORIGINS, old)))
