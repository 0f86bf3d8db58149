"""The paper's headline, judged on made-up sweeps in which the truth is known."""

from __future__ import annotations

import math

import pytest

from tests.analysis.judged import RATE, judge, shifted
from tests.analysis.tables import Cell

THAN_SFT, SHARE = "rl_sparser_than_sft", "rl_updates_5_to_30_percent"


@pytest.mark.parametrize(
    ("gold", "verdict"), [(1.0, "supported"), (-1.0, "refuted"), (0.02, "smaller than the margin"), (0.0, "mixed")]
)
def test_rl_and_sft_are_compared_at_each_rate_at_which_both_were_trained(gold: float, verdict: str) -> None:
    found = judge(shifted(method={"sft_gold": gold}))[THAN_SFT]
    if verdict == "mixed":  # seeds move both alike, and what is left is of either sign
        assert found.verdict in ("inconclusive", "smaller than the margin")
    else:
        assert found.verdict == verdict

    def density(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    moves = [density(rate + gold) - density(rate) for rate in RATE.values()]
    assert found.estimate.mean == pytest.approx(100 * sum(moves) / 3, abs=0.6)
    assert [text.rpartition(" at ")[2] for text in found.note.split("; ")] == ["1e-5", "1e-6", "1e-4"]
    assert len(found.runs) == 18


def test_where_rates_disagree_rl_is_neither_sparser_nor_denser() -> None:
    def density(cell: Cell, seed: int) -> float:
        gold = cell["method"] == "sft_gold"
        return 0.5 + 0.001 * seed + gold * (0.1 if cell["learning_rate"] == "1e-4" else -0.1)

    assert judge(density)[THAN_SFT].verdict == "inconclusive"


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.2, "supported"), (0.4, "refuted"), (0.01, "refuted"), (0.3, "inconclusive")]
)
def test_the_share_that_rl_updates_is_at_the_tolerance_of_the_paper(share: float, verdict: str) -> None:
    found = judge(lambda cell, seed: 2 * share + 0.002 * (seed - 1))[SHARE]
    assert found.verdict == verdict
    assert found.estimate.mean == pytest.approx(100 * share)
    assert found.note == "; ".join(f"{100 * share:.1f} % at {rate}" for rate in ("1e-5", "1e-6", "1e-4"))
    assert len(found.runs) == 9
