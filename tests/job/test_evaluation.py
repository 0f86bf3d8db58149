"""Scores of held-out completions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.job.evaluation import Score, summarise
from subnetray.rollout import Samples


def scored(rewards: list[float], accepts: Callable[[float], bool]) -> Score:
    samples = Samples([[3, 1]] * len(rewards), [[-0.5, -0.5]] * len(rewards))
    return summarise(rewards, accepts, samples, eos=1, sampled=True)


@given(rights=st.integers(0, 50), wrongs=st.integers(0, 50))
def test_standard_error_is_that_of_the_mean_of_zeros_and_ones(rights: int, wrongs: int) -> None:
    n = rights + wrongs
    if n == 0:
        return
    score = scored([1.0] * rights + [0.0] * wrongs, bool)
    values = [1.0] * rights + [0.0] * wrongs
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / n
    assert score.n == n
    assert score.accuracy == score.reward == pytest.approx(mean)
    assert score.accuracy_se == pytest.approx(math.sqrt(variance / n))


def test_what_is_right_is_for_the_task_to_say_and_the_mean_reward_counts_all() -> None:
    score = scored([0.5, 0.0, 1.0, 0.0], lambda reward: reward >= 1)
    assert score.accuracy == 0.25
    assert score.reward == 0.375


def test_length_truncation_and_entropy_are_of_all_completions() -> None:
    samples = Samples([[3, 1], [3, 4, 5, 6], [1], [5, 1, 1]], [[-1.0, 0.0], [-0.5] * 4, [-2.0], [0.0] * 3])
    score = summarise([0.0] * 4, bool, samples, eos=1, sampled=True)
    assert (score.completion_length, score.truncated_share) == (10 / 4, 1 / 4)
    assert score.entropy == pytest.approx((1.0 + 2.0 + 2.0) / 10)  # a mean over tokens, not over completions
    assert summarise([0.0] * 4, bool, samples, eos=1, sampled=False).entropy is None
