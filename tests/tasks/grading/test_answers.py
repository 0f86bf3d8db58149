"""The rewards on answers whose truth is known by hand, as they stand in the data sets and as models write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from subnetray.tasks import rewards

Case = tuple[Callable[[Any, str, Any], float], str, str, bool]


def table(name: str, reward: Callable[[Any, str, Any], float]) -> list[Any]:
    kinds: dict[str, list[list[str]]] = yaml.safe_load((Path(__file__).parent / f"{name}_answers.yaml").read_text())
    return [
        pytest.param(reward, gold, completion, {"right": True, "wrong": False}[truth], id=f"{name}-{kind}-{place}")
        for kind, answers in kinds.items()
        for place, (gold, completion, truth) in enumerate(answers)
    ]


ANSWERS = [*table("math", rewards.math), *table("number", rewards.number)]


@pytest.mark.parametrize(("reward", "gold", "completion", "right"), ANSWERS)
def test_an_answer_is_worth_what_it_is(
    reward: Callable[[Any, str, Any], float], gold: str, completion: str, right: bool
) -> None:
    assert reward("", completion, gold) == right


def test_the_table_is_large_and_half_of_it_is_wrong_answers() -> None:
    truths = [case.values[3] for case in ANSWERS]
    assert len(truths) > 400
    assert 0.3 < truths.count(False) / len(truths) < 0.5
