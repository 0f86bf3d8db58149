"""The SFT stage and the number of steps in made-up sweeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from subnetray.analysis.claims import stages
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim
from tests.analysis.judged import ORIGINS
from tests.analysis.tables import Cell, make_runs

STAGE, STEPS = "sft_stage_not_needed", "steps_matter_early_and_then_less"


def judge(density: Callable[[Cell], float], taught: float = 0.1, gone: tuple[str, ...] = ()) -> dict[str, Claim]:
    runs = make_runs(
        ORIGINS,
        lambda cell, seed: density(cell) + 0.001 * (-1) ** seed * (1 + len(cell["init"]) + len(cell["train_steps"])),
        steps=lambda cell, seed: int(cell["train_steps"]),
        accuracy_greedy_before=lambda cell, seed: 0.5 + taught * (cell["init"] == "after_sft"),
    )
    runs = runs[~runs["train_steps"].isin(gone)]
    return {claim.key: claim for claim in stages.claims(Results(ORIGINS, runs))}


@pytest.mark.parametrize(
    ("after", "verdict"), [(0.6, "supported"), (0.5, "supported"), (0.4, "refuted"), (0.45, "inconclusive")]
)
def test_an_sft_stage_is_needed_where_updates_without_it_are_denser(after: float, verdict: str) -> None:
    found = judge(lambda cell: after if cell["init"] == "after_sft" else 0.5)[STAGE]
    assert found.verdict == verdict
    assert found.estimate.mean == pytest.approx(100 * (after - 0.5), abs=1)
    assert len(found.runs) == 6


def test_an_sft_stage_that_taught_nothing_tests_nothing() -> None:
    found = judge(lambda cell: 0.5, taught=0.01)[STAGE]
    assert (found.verdict, found.note) == (
        "not tested",
        "the SFT stage changed accuracy by +1.0 ± 0.0 points: it taught nothing",
    )
    assert judge(lambda cell: 0.998)[STAGE].note == "RL from the base changes all weights"


@pytest.mark.parametrize(
    ("densities", "verdict"),
    [((0.2, 0.4, 0.5), "supported"), ((0.2, 0.24, 0.5), "refuted"), ((0.2, 0.24, 0.36), "inconclusive")],
)
def test_steps_matter_less_where_a_late_one_adds_less(densities: tuple[float, float, float], verdict: str) -> None:
    by_steps = dict(zip(("20", "60", "180"), densities, strict=True))
    found = judge(lambda cell: by_steps[cell["train_steps"]])[STEPS]
    assert found.verdict == verdict
    early, late = (densities[1] - densities[0]) / 40, (densities[2] - densities[1]) / 120
    assert found.estimate.mean == pytest.approx(1e4 * (early - late), abs=1)
    assert "from 20 to 60" in found.note
    assert "from 60 to 180" in found.note


def test_two_numbers_of_steps_have_no_early_and_late() -> None:
    assert judge(lambda cell: 0.5, gone=("180",))[STEPS].note == "no seed has finished with three numbers of steps"
    full = {"20": 0.5, "60": 0.998, "180": 0.998}
    assert judge(lambda cell: full[cell["train_steps"]])[STEPS].note == "after 60 steps all weights have changed"
