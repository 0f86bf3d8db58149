"""Where the examples of SFT are from."""

from __future__ import annotations

from pathlib import Path

from subnetray.algorithms import sft
from subnetray.config import SFT
from tests.algorithms.lab import make_setting


def test_shuffled_completions_are_the_gold_ones_each_after_the_prompt_before(init: Path) -> None:
    gold, shuffled = (
        sft.examples_of(make_setting(init, SFT(steps=2, batch_size=8, data=data))) for data in ("gold", "shuffled")
    )
    assert [each.prompt for each in shuffled] == [each.prompt for each in gold]
    golds = [each.completion for each in gold]
    assert [each.completion for each in shuffled] == [*golds[1:], golds[0]]
