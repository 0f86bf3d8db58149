"""RL beside SFT at published rates and at one gain, and updates by their data, in made-up sweeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from subnetray.analysis.claims import published
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim
from subnetray.config import Grid
from subnetray.config.compose import Composer
from subnetray.grid import plan
from tests.analysis.judged import ORIGINS, off_distribution
from tests.analysis.tables import Cell, make_runs

RATES, GAIN, REJECTION, DPO = (
    *("rl_sparser_than_sft_at_published_rates", "rl_sparser_than_sft_at_matched_gain"),
    *("rejection_sampling_sparse", "off_distribution_dpo_dense"),
)
STEP = {"1e-6": -1, "1e-5": 0, "1e-4": 1}


def wobble(cell: Cell, seed: int) -> float:
    return 0.001 * ((-1) ** seed) * (1 + len(cell["method"]) % 3)


def rate(cell: Cell) -> int:
    return STEP[cell["learning_rate"]]


def judge(density: Callable[[Cell], float], grid: Grid = ORIGINS, gap: float = 2.0, **columns: Any) -> dict[str, Claim]:
    runs = make_runs(
        grid,
        lambda cell, seed: density(cell) + wobble(cell, seed),
        lr=lambda cell, seed: float(cell["learning_rate"]),
        n=lambda cell, seed: 10**6,
        data_nll=lambda cell, seed: 0.25 + gap * off_distribution(cell),
        **columns,
    )
    return {claim.key: claim for claim in published.claims(Results(grid, runs))}


@pytest.mark.parametrize(
    ("apart", "verdict"), [(0.1, "supported"), (0.0, "smaller than the margin"), (-0.1, "refuted")]
)
def test_published_rates_compare_rl_with_sft_at_ten_times_its_rate(apart: float, verdict: str) -> None:
    # At the same rate SFT is sparser by 0.2: only ten times the rate makes it as dense as RL.
    found = judge(lambda cell: 0.6 + 0.2 * rate(cell) + (apart - 0.2) * (cell["method"] == "sft_gold"))[RATES]
    assert found.verdict == verdict
    assert found.estimate.mean == pytest.approx(100 * apart, abs=0.5)
    assert "at 1e-6 and 1e-5" in found.note
    assert "at 1e-5 and 1e-4" in found.note
    assert len(found.runs) == 4 * 3


def test_rates_that_are_not_ten_times_apart_test_nothing() -> None:
    grid = plan(Composer(), ["+grid=factorial"])[1].grid
    runs = make_runs(grid, lambda cell, seed: 0.5, lr=lambda cell, seed: 1e-5)
    found = {claim.key: claim for claim in published.claims(Results(grid, runs))}
    assert found[RATES].note == "no seed has finished RL, and SFT at 10 times its rate"


def gained(rl: float) -> Callable[[Cell, int], float]:
    """SFT gains 5, 15 and 25 points with the rate, RL ``rl`` at every rate."""
    return lambda cell, seed: 0.5 + (0.15 + 0.1 * rate(cell) if cell["method"] == "sft_gold" else rl)


def test_at_one_gain_density_is_read_between_the_rates_of_sft() -> None:
    # SFT: density 0.3 at 5 points, 0.5 at 15, 0.7 at 25; RL: 0.4 wherever it gains 15.
    def density(cell: Cell) -> float:
        return 0.5 + 0.2 * rate(cell) if cell["method"] == "sft_gold" else 0.4

    found = judge(density, accuracy=gained(0.15))[GAIN]
    assert found.verdict == "supported"
    assert found.estimate.mean == pytest.approx(10, abs=0.5)
    # Half way between two rates on the scale of log odds, from 0.5 to 0.7: 0.604.
    assert judge(density, accuracy=gained(0.2))[GAIN].estimate.mean == pytest.approx(20.4, abs=0.5)
    assert judge(density, accuracy=gained(0.1))[GAIN].estimate.mean == pytest.approx(-0.4, abs=0.5)


def test_gains_that_sft_does_not_have_and_no_gain_are_not_compared() -> None:
    for gain in (0.3, 0.01):
        found = judge(lambda cell: 0.5, accuracy=gained(gain))[GAIN]
        assert found.verdict == "not tested"
        assert found.note == "no RL run gained what lies between the gains of SFT at two learning rates"


def tolerant(changed: float) -> dict[str, Any]:
    return {"density_1e-05": lambda cell, seed: changed + 0.001 * (seed - 1)}


@pytest.mark.parametrize(("changed", "verdict"), [(0.1, "supported"), (0.5, "refuted"), (0.3, "inconclusive")])
def test_rejection_sampling_is_sparse_below_the_share_of_rl(changed: float, verdict: str) -> None:
    found = judge(lambda cell: 0.5, **tolerant(changed))[REJECTION]
    assert found.verdict == verdict
    assert found.estimate.mean == pytest.approx(100 * (1 - changed))
    assert len(found.runs) == 3


@pytest.mark.parametrize(("changed", "verdict"), [(0.9, "supported"), (0.1, "refuted"), (0.5, "inconclusive")])
def test_off_distribution_dpo_is_dense_above_half_of_the_weights(changed: float, verdict: str) -> None:
    found = judge(lambda cell: 0.5, **tolerant(changed))[DPO]
    assert found.verdict == verdict
    assert found.estimate.mean == pytest.approx(100 * changed)
    near = judge(lambda cell: 0.5, gap=0.5, **tolerant(changed))[DPO]
    assert (near.verdict, near.note) == (
        "not tested",
        "the NLL of its off-distribution pairs, above that of the others, is +0.50 nats a token",
    )
