"""Scores of held-out completions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.job.evaluation import summarise


@given(rights=st.integers(0, 50), wrongs=st.integers(0, 50))
def test_standard_error_is_that_of_the_mean_of_zeros_and_ones(rights: int, wrongs: int) -> None:
    n = rights + wrongs
    if n == 0:
        return
    score = summarise([1.0] * rights + [0.0] * wrongs, bool)
    values = [1.0] * rights + [0.0] * wrongs
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / n
    assert score.n == n
    assert score.accuracy == score.reward == pytest.approx(mean)
    assert score.accuracy_se == pytest.approx(math.sqrt(variance / n))


def test_what_is_right_is_for_the_task_to_say_and_the_mean_reward_counts_all() -> None:
    score = summarise([0.5, 0.0, 1.0, 0.0], lambda reward: reward >= 1)
    assert score.accuracy == 0.25
    assert score.reward == 0.375
