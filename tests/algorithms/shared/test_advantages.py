"""Advantages against their definitions, written as loops over sequences of their own length, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.algorithms.shared.advantages import (
    at_last_token,
    clipped_value_loss,
    generalised,
    informative_groups,
    leave_one_out,
    positive_part,
    prime_returns,
    process_rewards,
    returns_to_go,
    scaled_to_unit_returns,
    whiten,
)

LENGTHS = st.lists(st.integers(1, 6), min_size=2, max_size=6)


def padded(lengths: list[int], seed: int, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Random numbers, also on the padding, where nothing may look at them; and the mask."""
    width = max(lengths) + padding
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    return torch.randn(len(lengths), width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), mask


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@given(lengths=LENGTHS, gamma=st.floats(0, 1), lam=st.floats(0, 1), seed=st.integers(0, 99))
def test_generalised_advantages_are_their_sum(lengths: list[int], gamma: float, lam: float, seed: int) -> None:
    """A_t = Σ_k (γλ)^k δ_{t+k}."""
    rewards, mask = padded(lengths, seed)
    values, _ = padded(lengths, seed + 1)
    advantages, returns = generalised(rewards, values, mask, gamma, lam)
    for i, length in enumerate(lengths):
        v = [*values[i, :length].tolist(), 0.0]
        delta = [float(rewards[i, t]) + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, length))
            assert float(advantages[i, t]) == pytest.approx(expected, abs=1e-9)
            assert float(returns[i, t]) == pytest.approx(expected + v[t], abs=1e-9)
        assert advantages[i, length:].abs().sum() + returns[i, length:].abs().sum() == 0


@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_without_values_and_discounts_ppo_is_reinforce_with_whitened_returns(lengths: list[int], seed: int) -> None:
    rewards, mask = padded(lengths, seed)
    advantages, returns = generalised(rewards, torch.zeros_like(rewards), mask, 1.0, 1.0)
    totals = [[float(rewards[i, t:n].sum()) for t in range(n)] for i, n in enumerate(lengths)]
    flat = torch.tensor([value for row in totals for value in row], dtype=torch.float64)
    if len(flat) > 1:
        close(whiten(advantages, mask)[mask.bool()], (flat - flat.mean()) / (flat.var() + 1e-8).sqrt())
    close(returns, advantages)


@given(lengths=LENGTHS, seed=st.integers(0, 99), shift=st.floats(-9, 9), padding=st.integers(1, 3))
def test_whitened_values_know_no_shift_and_no_padding(
    lengths: list[int], seed: int, shift: float, padding: int
) -> None:
    values, mask = padded(lengths, seed)
    white = whiten(values, mask)
    torch.testing.assert_close(whiten(values + shift, mask), white, rtol=1e-6, atol=1e-6)
    wider = torch.nn.functional.pad(values, (0, padding), value=7.0)
    close(whiten(wider, torch.nn.functional.pad(mask, (0, padding)))[:, : values.shape[1]], white)


def test_workers_whiten_as_one() -> None:
    values, mask = padded([3, 1, 4, 2], 0)
    whole = whiten(values, mask)
    halves = [slice(0, 2), slice(2, 4)]
    sums = [[mask[half].sum().double() for half in halves], [(values * mask)[half].sum() for half in halves]]
    count, mean = sum(sums[0]), sum(sums[1]) / sum(sums[0])
    squares = sum(((values - mean) * mask)[half].square().sum() for half in halves)
    for half in halves:
        answers: Iterator[Tensor] = iter(map(torch.as_tensor, (count, sum(sums[1]), squares)))

        def total(_: Tensor, answers: Iterator[Tensor] = answers) -> Tensor:
            return next(answers)

        close(whiten(values[half], mask[half], total), whole[half])


def test_a_score_comes_with_the_last_token_and_raft_s_with_every_one() -> None:
    _, mask = padded([2, 3, 1], 0, padding=1)
    scores = torch.tensor([2.0, -1.0, 0.5])
    assert at_last_token(scores, mask).tolist() == [[0, 2, 0, 0], [0, 0, -1, 0], [0.5, 0, 0, 0]]
    assert positive_part(scores, mask).tolist() == [[2, 2, 0, 0], [0, 0, 0, 0], [0.5, 0, 0, 0]]


def test_a_value_s_error_is_no_smaller_than_within_the_clip_range() -> None:
    values, old = torch.tensor([0.5, 0.1, -0.5]), torch.zeros(3)
    returns = torch.tensor([1.0, 1.0, 1.0])
    losses = clipped_value_loss(values, old, returns, 0.2)
    torch.testing.assert_close(losses, torch.tensor([0.8**2 / 2, 0.9**2 / 2, 1.5**2 / 2]))


# --- PRIME


def groups(sizes: int, seed: int, group: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    lengths = torch.randint(1, 6, (sizes * group,), generator=torch.Generator().manual_seed(seed)).tolist()
    values, mask = padded(lengths, seed, padding=1)
    accuracies = torch.randint(0, 2, (sizes * group,), generator=torch.Generator().manual_seed(seed + 1)).double()
    return values, mask, accuracies


@given(seed=st.integers(0, 99), beta=st.floats(0.01, 2))
def test_process_rewards_sum_to_the_log_ratio_less_the_last_token_s(seed: int, beta: float) -> None:
    ratios, mask, _ = groups(2, seed)
    rewards = process_rewards(ratios, mask, beta)
    for i, length in enumerate(mask.sum(-1).tolist()):
        assert float(rewards[i].sum()) == pytest.approx(beta * float(ratios[i, : length - 1].sum()), abs=1e-12)
        assert rewards[i, length - 1 :].abs().sum() == 0


@given(seed=st.integers(0, 99))
def test_the_variants_of_leaving_one_out(seed: int) -> None:
    values, mask, accuracies = groups(2, seed)
    m = [float(values[i, :n].mean()) for i, n in enumerate(mask.sum(-1).tolist())]
    paper, code = (leave_one_out(values, mask, 3, variant) for variant in ("paper", "code"))
    for i in range(6):
        others = [m[j] for j in range(i // 3 * 3, i // 3 * 3 + 3) if j != i]
        for t in range(mask[i].sum()):
            by_paper = float(values[i, t]) - sum(others) / 2
            assert float(paper[i, t]) == pytest.approx(by_paper, abs=1e-12)
            assert float(code[i, t]) == pytest.approx(by_paper + (float(values[i, t]) - m[i]) / 2, abs=1e-12)
    # Of outcomes there is one a sequence: RLOO whatever the variant.
    outcomes = at_last_token(accuracies, mask)
    last = (outcomes + at_last_token(torch.ones_like(accuracies), mask) > 0).long()
    rloo = [
        float(accuracies[i] - (accuracies[i // 3 * 3 : i // 3 * 3 + 3].sum() - accuracies[i]) / 2) for i in range(6)
    ]
    for variant in ("paper", "code"):
        assert leave_one_out(outcomes, last, 3, variant).sum(-1).tolist() == pytest.approx(rloo, abs=1e-12)


def by_group_of_3(variant: str) -> Callable[[Tensor, Tensor], Tensor]:
    return partial(leave_one_out, group_size=3, variant=variant)


@given(seed=st.integers(0, 99), variant=st.sampled_from(["paper", "code"]))
def test_prime_with_the_reference_as_its_reward_model_is_rloo_on_outcomes(seed: int, variant: str) -> None:
    ratios, mask, accuracies = groups(3, seed)
    process = scaled_to_unit_returns(process_rewards(torch.zeros_like(ratios), mask, 0.05), mask)
    prime = whiten(prime_returns(process, accuracies, mask, by_group_of_3(variant), (5.0, 5.0)), mask)
    by_group = accuracies.view(-1, 3)
    rloo = (by_group - (by_group.sum(-1, keepdim=True) - by_group) / 2).flatten()
    torch.testing.assert_close(prime, whiten(rloo[:, None] * mask, mask), rtol=1e-6, atol=1e-9)


@given(seed=st.integers(0, 99), variant=st.sampled_from(["paper", "code"]))
def test_prime_knows_no_order_within_a_group(seed: int, variant: str) -> None:
    ratios, mask, accuracies = groups(2, seed)

    def returns(order: Tensor) -> Tensor:
        rewards = process_rewards(ratios[order], mask[order], 0.05)
        return prime_returns(rewards, accuracies[order], mask[order], by_group_of_3(variant), (5.0, 3.0))

    order = torch.tensor([2, 0, 1, 4, 3, 5])
    close(returns(order), returns(torch.arange(6))[order])


def test_a_group_that_is_all_right_teaches_nothing() -> None:
    _, mask, _ = groups(1, 0)
    returns = prime_returns(torch.zeros(mask.shape), torch.ones(3), mask, by_group_of_3("code"), (5.0, 5.0))
    assert returns.abs().max() < 1e-6


def test_process_rewards_are_scaled_by_the_largest_return() -> None:
    rewards, mask, _ = groups(2, 3)
    scaled = scaled_to_unit_returns(rewards * mask, mask)
    assert float(returns_to_go(scaled, mask).abs().max()) == pytest.approx(1, abs=1e-5)
    close(scaled * float((rewards * mask)[0, 0]), rewards * mask * float(scaled[0, 0]))


@pytest.mark.parametrize(
    ("accuracies", "truncated", "kept"),
    [
        ([0.0, 0.5, 1.0, 0.25], [False] * 4, [1, 3]),
        ([0.0, 0.5, 1.0, 0.25], [False, False, False, True], [0, 1]),
        ([0.2, 0.8, 0.5, 0.5], [False] * 4, [0, 1]),
        ([0.0, 1.0, 1.0, 0.0], [False] * 4, [0, 1]),
    ],
    ids=["by_accuracy", "cut_off", "bounds_included", "filled_up"],
)
def test_groups_that_tell_completions_apart_come_first(
    accuracies: list[float], truncated: list[bool], kept: list[int]
) -> None:
    assert informative_groups(accuracies, truncated, 2, 0.2, 0.8) == kept


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize(
    "function",
    [
        lambda values, mask, _: returns_to_go(values, mask, 0.9),
        lambda values, mask, _: generalised(values, values.flip(0), mask, 0.9, 0.8)[0],
        lambda values, mask, variant: leave_one_out(values, mask, 3, variant),
        lambda values, mask, variant: prime_returns(
            process_rewards(values, mask, 0.1), values[:, 0], mask, by_group_of_3(variant), (1.0, 2.0)
        ),
    ],
    ids=["returns", "gae", "leave_one_out", "prime"],
)
def test_padding_changes_nothing(function: Callable[[Tensor, Tensor, str], Tensor], variant: str) -> None:
    values, mask, _ = groups(2, 5)
    wider = torch.nn.functional.pad(values, (0, 2), value=-3.0)
    result = function(values, mask, variant)
    padded_result = function(wider, torch.nn.functional.pad(mask, (0, 2)), variant)
    close(padded_result[:, : values.shape[1]], result)
    assert padded_result[:, values.shape[1] :].abs().sum() == 0
