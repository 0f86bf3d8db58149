"""Arithmetic: gold by an independent evaluation, a split that depends on the prompt alone, rewards, corruption."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray import tasks
from subnetray.config import ArithmeticTask, ConfigError
from subnetray.tasks.arithmetic import MARK, Arithmetic, plain
from subnetray.tasks.base import Problem
from subnetray.tasks.split import is_held_out, text_of
from tests.tasks.sums import value_of

DEFAULT = Arithmetic(ArithmeticTask())
SMALL = Arithmetic(ArithmeticTask(name="small", operators=("+", "-", "*"), max_left=12, max_right=7))


def everything(task: Arithmetic) -> list[Problem]:
    return [*task.training, *task.held_out(10**6)]


def test_all_problems_of_the_range_and_no_others() -> None:
    prompts = [text_of(problem.prompt) for problem in everything(SMALL)]
    assert sorted(prompts) == sorted(f"{a}{op}{b}=" for op in "+-*" for a in range(13) for b in range(8))


def test_gold_is_the_value_of_the_prompt_and_a_mark() -> None:
    for problem in everything(SMALL):
        assert problem.gold == f"{value_of(text_of(problem.prompt))}{MARK}"


@given(st.integers(-(10**7), 10**7), st.integers(0, 5))
def test_a_number_has_one_plain_form(value: int, zeros: int) -> None:
    sign, digits = "-" if value < 0 else "", str(abs(value))
    forms = [str(value), f"{value:+04d}", f"{sign}{'0' * zeros}{digits}{MARK}", *([] if sign else [f"+{digits}"])]
    assert {plain(form) for form in forms} == {str(value)}
    assert plain(f"{value}==") is plain("") is plain(f"{value} ") is plain(f"--{value}") is plain(MARK) is None


def test_parts_of_the_problems_differ_in_them_alone() -> None:
    """Seeds pass over the same problems in another order; another part has none of them, and all are held out alike."""
    one, other = (Arithmetic(ArithmeticTask(size=480, data_seed=seed)) for seed in (0, 1))
    orders = [one.train_prompts(960, seed) for seed in (0, 1, 2)]
    assert all(Counter(order) == Counter(one.training) + Counter(one.training) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert len({problem.prompt for task in (one, other) for problem in task.training}) == 960
    assert one.held_out(10**6) == other.held_out(10**6) == DEFAULT.held_out(10**6)
    assert set(one.training) < set(DEFAULT.training)
    # Where problems run out, parts begin again.
    size = len(SMALL.training)
    assert Counter(_part(size, 0)) == Counter(_part(size, 1)) == Counter(SMALL.training)


def _part(size: int, seed: int) -> tuple[Problem, ...]:
    config = ArithmeticTask(operators=("+", "-", "*"), max_left=12, max_right=7, size=size, data_seed=seed)
    return Arithmetic(config).training


def test_a_part_larger_than_the_whole_is_refused() -> None:
    size = len(SMALL.training)
    with pytest.raises(ConfigError, match=rf"^task\.size must be at most {size}, the training .*, not {size + 1}$"):
        _part(size + 1, 0)


def test_training_and_held_out_share_no_problem() -> None:
    assert not {p.prompt for p in DEFAULT.training} & {p.prompt for p in DEFAULT.held_out(10**6)}


def test_a_tenth_is_held_out() -> None:
    # Binomial: five standard deviations of 20000 draws at 0.1 are 212.
    assert len(DEFAULT.held_out(10**6)) == pytest.approx(2000, abs=212)
    assert len(everything(DEFAULT)) == 20000


@given(st.lists(st.sampled_from("+-*"), min_size=1).map(tuple), st.integers(1, 30), st.integers(1, 30))
def test_the_split_is_the_same_in_every_range_and_for_every_operator(
    operators: tuple[str, ...], left: int, right: int
) -> None:
    task = Arithmetic(ArithmeticTask(operators=operators, max_left=left, max_right=right))
    assert all(is_held_out(problem.prompt) for problem in task.held_out(10**6))
    assert not any(is_held_out(problem.prompt) for problem in task.training)


@pytest.mark.parametrize("operator", "+-*")
def test_the_smallest_range_fills_both_parts(operator: str) -> None:
    # Larger ranges contain this one, so that no valid config lacks training or held-out problems.
    task = Arithmetic(ArithmeticTask(operators=(operator,), max_left=1, max_right=1))
    assert task.training
    assert task.held_out(1)


def test_held_out_is_a_fixed_order_of_which_fewer_are_a_prefix() -> None:
    assert DEFAULT.held_out(50) == Arithmetic(ArithmeticTask(name="other")).held_out(200)[:50]
    assert len(DEFAULT.held_out(50)) == 50


def test_a_prefix_of_held_out_is_a_fair_sample() -> None:
    # Plus and minus are equally frequent: five standard deviations of 512 draws at 0.5 are 57.
    assert sum("+" in problem.prompt for problem in DEFAULT.held_out(512)) == pytest.approx(256, abs=57)


@given(st.integers(0, 2**31 - 1), st.integers(0, 60), st.integers(0, 60))
def test_fewer_train_prompts_are_a_prefix(seed: int, few: int, more: int) -> None:
    assert SMALL.train_prompts(few + more, seed)[:few] == SMALL.train_prompts(few, seed)


def test_train_prompts_come_in_whole_passes() -> None:
    size = len(SMALL.training)
    prompts = SMALL.train_prompts(2 * size + 5, seed=3)
    assert len(prompts) == 2 * size + 5
    for start in (0, size):
        assert Counter(prompts[start : start + size]) == Counter(SMALL.training)
    assert prompts[:size] != prompts[size : 2 * size]
    assert prompts[:size] != SMALL.train_prompts(size, seed=4)


def test_only_the_right_number_is_rewarded() -> None:
    problem = Problem("12+34=", "46=")
    right = ["46", " 46", "46\n", "046", "+46", "+046", "46=", "+046=\n"]
    wrong = ["", "4", "-46", "46.", "46 46", "460", "47", "12+34=46", "4 6", "+", "=", "=46", "46=="]
    assert [SMALL.reward(problem, text) for text in right + wrong] == [1.0] * len(right) + [0.0] * len(wrong)


@given(st.sampled_from(everything(SMALL)))
def test_gold_is_rewarded_and_corrupted_gold_never(problem: Problem) -> None:
    assert SMALL.reward(problem, problem.gold) == 1.0
    for seed in range(10):
        wrong = SMALL.corrupted(problem, random.Random(seed))
        assert SMALL.reward(problem, wrong) == 0.0
        assert len(wrong) == len(problem.gold)
        assert sum(a != b for a, b in zip(wrong, problem.gold, strict=True)) == 1
        assert f"{int(wrong.removesuffix(MARK))}{MARK}" == wrong


def test_corruption_reaches_every_digit_and_depends_on_the_generator_alone() -> None:
    problem = Problem("3-100=", "-97=")
    wrong = {SMALL.corrupted(problem, random.Random(seed)) for seed in range(300)}
    assert wrong == {f"-{d}7=" for d in "12345678"} | {f"-9{d}=" for d in "012345689"}
    assert SMALL.corrupted(problem, random.Random(1)) == SMALL.corrupted(problem, random.Random(1))


def test_load_makes_the_task_of_a_config() -> None:
    config: Any = ArithmeticTask(name="mine", operators=("*",), max_left=3, max_right=3)
    task = tasks.load(config)
    assert task.name == "mine"
    assert all("*" in problem.prompt for problem in task.train_prompts(20, 0))
