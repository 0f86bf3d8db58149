"""Trainers on rollouts, against a direct float64 computation one sequence at a time."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM, Trainer

from subnetray import algorithms
from subnetray.algorithms.setting import Example, Setting
from subnetray.config import DPO, GRPO, RAFT, RLOO, SFT, Algorithm, OnPolicy, RAFTPlusPlus
from tests.algorithms.lab import ENGINE_GAP, Engines, Scored, exact, logprobs, make_setting, move

ANSWERS = ("7", "-31", "77", "5-5", "1")


def on_policy(init: Path, algorithm: Algorithm, worth: Callable[[str], float] = len) -> tuple[Setting, Trainer]:
    """A trainer in training mode whose policy has moved away from the init, and is what the engines sample from."""
    setting = dataclasses.replace(make_setting(init, algorithm, answers=ANSWERS), task=Scored(worth))
    trainer = algorithms.build(setting)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # which train() sets
    move(trainer.model, 1)
    cast(Engines, setting.policy).model = exact(init, trainer)
    return setting, trainer


def roll_out(trainer: Trainer) -> dict[str, Any]:
    return cast(dict[str, Any], trainer._prepare_inputs(next(iter(trainer.get_train_dataloader()))))


def loss_of(trainer: Trainer, inputs: dict[str, Any]) -> float:
    return float(trainer.compute_loss(trainer.model, inputs).detach())


def clipped(
    policy: Qwen2ForCausalLM,
    old: Qwen2ForCausalLM,
    examples: Sequence[Example],
    advantages: Sequence[Tensor | float],
    epsilon: float,
) -> list[Tensor]:
    """−min(ρA, clip(ρ)A) of every token, times the ratio of the whole sequence to what the engine drew it with."""
    losses = []
    for example, advantage in zip(examples, advantages, strict=True):
        rho = torch.exp(
            logprobs(policy, example.prompt, example.completion) - logprobs(old, example.prompt, example.completion)
        )
        engine = torch.exp(torch.tensor(ENGINE_GAP * len(example.completion), dtype=torch.float64))
        losses.append(-torch.minimum(rho * advantage, rho.clamp(1 - epsilon, 1 + epsilon) * advantage) * engine)
    return losses


AGGREGATIONS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "grpo": lambda losses: torch.stack([each.mean() for each in losses]).mean(),
    "bnpo": lambda losses: torch.cat(losses).mean(),
    "dapo": lambda losses: torch.cat(losses).mean(),
    "dr_grpo": lambda losses: torch.cat(losses).sum() / (len(losses) * 5),
}


@pytest.mark.parametrize("loss", AGGREGATIONS)
def test_the_loss_of_grpo_is_its_definition(init: Path, loss: str) -> None:
    setting, trainer = on_policy(init, GRPO(steps=1, batch_size=6, group_size=2, epsilon=0.1, loss=loss))
    old, inputs = exact(init, trainer), roll_out(trainer)
    move(trainer.model, 2)
    rewards = [len(x.completion) - 1 for x in setting.data.examples]
    advantages = []
    for one, other in zip(rewards[::2], rewards[1::2], strict=True):
        # Of two, the mean is in the middle, and the deviation is the distance over √2.
        half = (one - other) / 2
        advantages += [half / (abs(one - other) / 2**0.5 + 1e-4), -half / (abs(one - other) / 2**0.5 + 1e-4)]
    losses = clipped(exact(init, trainer), old, setting.data.examples, advantages, 0.1)
    assert loss_of(trainer, inputs) == pytest.approx(float(AGGREGATIONS[loss](losses)), rel=1e-4)


@pytest.mark.parametrize("algorithm", [GRPO(steps=1, batch_size=8, group_size=4), RLOO(steps=1, batch_size=8)])
def test_groups_that_are_all_right_give_no_advantage(init: Path, algorithm: OnPolicy) -> None:
    _, trainer = on_policy(init, algorithm, worth=lambda _: 1.0)
    assert roll_out(trainer)["advantages"].abs().max() == 0


def test_the_loss_of_raft_plus_plus_is_its_definition(init: Path) -> None:
    """Completions of a negative score are not learned from, and count among the tokens."""
    algorithm = RAFTPlusPlus(steps=2, batch_size=5, group_size=1, minibatches=1, epsilon=0.1)
    setting, trainer = on_policy(init, algorithm, worth=lambda text: len(text) - 1.5)
    old, inputs = exact(init, trainer), roll_out(trainer)
    move(trainer.model, 2)
    examples = setting.data.examples
    scores = [max(len(x.completion) - 2.5, 0.0) for x in examples]
    assert 0 < sum(score > 0 for score in scores) < 5
    losses = clipped(exact(init, trainer), old, examples, scores, 0.1)
    assert loss_of(trainer, inputs) == pytest.approx(float(torch.cat(losses).mean()), rel=1e-4)


def test_the_gradient_of_raft_is_that_of_the_likelihood_of_what_is_accepted(init: Path) -> None:
    setting, trainer = on_policy(init, RAFT(steps=1, batch_size=5, group_size=1), worth=lambda text: float(text > "5"))
    inputs = roll_out(trainer)
    move(trainer.model, 2)
    trainer.compute_loss(trainer.model, inputs).backward()
    policy = exact(init, trainer)
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for x in setting.data.examples:
        tokens += len(x.completion)
        if setting.decode(x.completion) > "5":
            logits = policy(input_ids=torch.tensor([x.prompt + x.completion])).logits[0].log_softmax(-1)
            lines = logits[len(x.prompt) - 1 : -1].gather(1, torch.tensor(x.completion)[:, None])
            total = total - lines.sum() * torch.exp(torch.tensor(ENGINE_GAP * len(x.completion)))
    (total / tokens).backward()
    for name, parameter in policy.named_parameters():
        found = trainer.model.get_parameter(name).grad
        assert found is not None
        torch.testing.assert_close(found.double(), parameter.grad, rtol=1e-3, atol=1e-5)


# --- how a batch is cut up


def updated(init: Path, algorithm: Algorithm) -> Qwen2ForCausalLM:
    setting = dataclasses.replace(make_setting(init, algorithm, answers=ANSWERS), task=Scored(len))
    cast(Engines, setting.policy).model = exact(init)
    trainer = algorithms.build(setting)
    trainer.train()
    return exact(init, trainer)


@pytest.mark.parametrize(
    "algorithm",
    [
        SFT(steps=2, batch_size=8),
        DPO(steps=2, batch_size=8, loss="sigmoid_norm", data="off_policy"),
        GRPO(steps=2, batch_size=8, group_size=4),
        GRPO(steps=2, batch_size=8, group_size=4, loss="grpo"),
        RLOO(steps=2, batch_size=8, group_size=4),
        RAFTPlusPlus(steps=4, batch_size=8, group_size=4, minibatches=2, epochs=2),
    ],
    ids=lambda algorithm: f"{algorithm.name}_{getattr(algorithm, 'loss', '')}".strip("_"),
)
def test_a_batch_may_be_cut_into_passes(init: Path, algorithm: Algorithm) -> None:
    """Steps of SGD, which sees the gradient's size: one pass of 8 sequences, or 8 of one each."""
    algorithm = dataclasses.replace(algorithm, optimizer="sgd", lr=0.1, max_grad_norm=None)
    whole = updated(init, algorithm)
    cut = updated(init, dataclasses.replace(algorithm, micro_batch_size=1))
    start = exact(init)
    moved = [float((w - s).detach().abs().max()) for w, s in zip(whole.parameters(), start.parameters(), strict=True)]
    assert statistics.median(moved) > 1e-4
    for w, c, size in zip(whole.parameters(), cut.parameters(), moved, strict=True):
        torch.testing.assert_close(c, w, rtol=0, atol=2e-3 * size + 1e-6)


def test_rollouts_are_drawn_for_several_steps_and_passed_over_several_times(init: Path) -> None:
    algorithm = GRPO(steps=7, batch_size=4, group_size=2, minibatches=2, epochs=2)
    setting = dataclasses.replace(make_setting(init, algorithm, answers=ANSWERS), task=Scored(len))
    cast(Engines, setting.policy).model = exact(init)
    trainer = algorithms.build(setting)
    trainer.train()
    assert trainer.state.global_step == 7
    assert cast(Engines, setting.policy).versions == ["step-0", "step-4"]
    assert setting.data.seen == 2 * 8
