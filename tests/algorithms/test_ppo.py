"""PPO, and the critic that learns beside it, against a direct float64 computation one sequence at a time."""

from __future__ import annotations

import copy
import dataclasses
import statistics
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from subnetray import algorithms
from subnetray.algorithms.ppo import PPOTrainer
from subnetray.algorithms.shared.setting import Example, Setting
from subnetray.config import PPO
from subnetray.subnetwork import named_weights
from tests.algorithms.lab import (
    ANSWERS,
    Collect,
    Engines,
    Scored,
    by_sequence,
    clipped,
    exact,
    logprobs,
    loss_of,
    make_setting,
    move,
    on_policy,
    roll_out,
)


def values_of(trainer: PPOTrainer, x: Example) -> Tensor:
    """Before each token of a completion, float64."""
    model: Any = copy.deepcopy(trainer.critic.model).double()
    hidden = model.body(input_ids=torch.tensor([x.prompt + x.completion])).last_hidden_state[0]
    return cast(Tensor, model.head(hidden[len(x.prompt) - 1 : -1])[:, 0])


def ppo_rollouts(init: Path, algorithm: PPO) -> tuple[Setting, PPOTrainer, dict[str, Any]]:
    setting, trainer = on_policy(init, algorithm)
    assert isinstance(trainer, PPOTrainer)
    move(trainer.critic.model, 3)
    return setting, trainer, roll_out(trainer)


@pytest.mark.parametrize(("beta", "kl"), [(0.0, "reward"), (0.3, "reward"), (0.3, "loss")])
def test_the_losses_of_ppo_are_their_definitions(init: Path, beta: float, kl: str) -> None:
    algorithm = PPO(
        steps=1, batch_size=5, group_size=1, epochs=1, beta=beta, kl=kl, gamma=0.9, gae_lambda=0.8, epsilon=0.1
    )
    setting, trainer, inputs = ppo_rollouts(init, algorithm)
    old, reference = exact(init, trainer), exact(init)
    examples = by_sequence(setting, inputs)
    before = [values_of(trainer, x).detach() for x in examples]
    raw, returns = [], []
    for x, v in zip(examples, before, strict=True):
        rewards = torch.zeros(len(v), dtype=torch.float64)
        rewards[-1] = len(x.completion) - 1
        if kl == "reward":
            rewards -= beta * (logprobs(old, x.prompt, x.completion) - logprobs(reference, x.prompt, x.completion))
        following = torch.zeros((), dtype=torch.float64)
        row: list[Tensor] = []
        for t in reversed(range(len(v))):
            delta = rewards[t] + (0.9 * v[t + 1] if t + 1 < len(v) else 0.0) - v[t]
            following = delta + 0.9 * 0.8 * following
            row.insert(0, following)
        raw.append(torch.stack(row))
        returns.append(torch.stack(row) + v)
    flat = torch.cat(raw)
    advantages = [(each - flat.mean()) / (flat.var() + 1e-8).sqrt() for each in raw]

    move(trainer.model, 2)
    move(trainer.critic.model, 4)
    policy = exact(init, trainer)
    losses = clipped(policy, old, examples, advantages, 0.1)
    if kl == "loss":
        for index, x in enumerate(examples):
            d = logprobs(reference, x.prompt, x.completion) - logprobs(policy, x.prompt, x.completion)
            rho = torch.exp(logprobs(policy, x.prompt, x.completion) - logprobs(old, x.prompt, x.completion))
            losses[index] = losses[index] + beta * rho * (d.exp() - d - 1)
    now = [values_of(trainer, x) for x in examples]
    errors = []
    for v, v0, r in zip(now, before, returns, strict=True):
        within = v0 + (v - v0).clamp(-0.2, 0.2)
        errors.append(torch.maximum((v - r) ** 2, (within - r) ** 2) / 2)
    trainer._metrics["train"].clear()
    assert loss_of(trainer, inputs) == pytest.approx(float(torch.cat(losses).mean()), rel=1e-4)
    assert trainer._metrics["train"]["value_loss"] == [
        pytest.approx(float(torch.cat(errors).detach().mean()), rel=1e-4)
    ]


def test_ppo_starts_as_reinforce_with_whitened_returns(init: Path) -> None:
    """The head of values starts at 0: with λ = γ = 1 nothing but the reward's return is left."""
    algorithm = PPO(steps=1, batch_size=8, group_size=4, epochs=1, gamma=1.0, gae_lambda=1.0)
    setting, trainer = on_policy(init, algorithm)
    inputs = roll_out(trainer)
    assert inputs["values"].abs().max() == 0
    scores = [torch.full((len(x.completion),), len(x.completion) - 1.0) for x in by_sequence(setting, inputs)]
    flat = torch.cat(scores)
    found = inputs["advantages"][inputs["completion_mask"].bool()]
    torch.testing.assert_close(found, (flat - flat.mean()) / flat.std(), rtol=1e-4, atol=1e-5)


def test_the_critic_learns_beside_the_policy_and_is_no_part_of_it(init: Path) -> None:
    setting = dataclasses.replace(
        make_setting(init, PPO(steps=40, batch_size=8, group_size=1, value_lr=3e-3), answers=ANSWERS), task=Scored(len)
    )
    cast(Engines, setting.policy).model = exact(init)
    trainer = algorithms.build(setting)
    assert isinstance(trainer, PPOTrainer)
    names = set(named_weights(setting.model))
    losses: list[float] = []
    trainer.add_callback(Collect("value_loss", losses))
    trainer.train()
    assert set(named_weights(setting.model)) == names
    assert {id(p) for p in setting.model.parameters()}.isdisjoint(id(p) for p in trainer.critic.model.parameters())
    assert len(losses) == 40
    assert statistics.fmean(losses[-4:]) < 0.5 * statistics.fmean(losses[:4])
