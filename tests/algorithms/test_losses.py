"""Losses of whole trainers, from their data on, against a direct float64 computation one sequence at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import Qwen2ForCausalLM, Trainer

from subnetray import algorithms
from subnetray.algorithms.shared.preferences import labelled_of, pairs_of
from subnetray.algorithms.shared.setting import Example, RunError, Setting
from subnetray.config import DPO, KTO, ORPO, RLOO, Algorithm, SimPO
from tests.algorithms.lab import Scored, exact, logprobs, make_setting, move


def first_loss(trainer: Trainer) -> float:
    trainer.model.train()
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    return float(trainer.compute_loss(trainer.model, inputs).detach())


Pair = tuple[Example, Example]


def dpo(policy: Qwen2ForCausalLM, init: Qwen2ForCausalLM, pairs: list[Pair], algorithm: Any) -> Tensor:
    losses = []
    for pair in pairs:
        ratios = [logprobs(policy, x.prompt, x.completion) - logprobs(init, x.prompt, x.completion) for x in pair]
        chosen, rejected = (each.mean() if algorithm.loss == "sigmoid_norm" else each.sum() for each in ratios)
        losses.append(-logsigmoid(algorithm.beta * (chosen - rejected)))
    return torch.stack(losses).mean()


def simpo(policy: Qwen2ForCausalLM, _: Qwen2ForCausalLM, pairs: list[Pair], algorithm: Any) -> Tensor:
    losses = []
    for pair in pairs:
        chosen, rejected = (logprobs(policy, x.prompt, x.completion).mean() for x in pair)
        losses.append(-logsigmoid(algorithm.beta * (chosen - rejected) - algorithm.gamma))
    return torch.stack(losses).mean()


def orpo(policy: Qwen2ForCausalLM, _: Qwen2ForCausalLM, pairs: list[Pair], algorithm: Any) -> Tensor:
    ratios, tokens = [], []
    for pair in pairs:
        tokens.append(logprobs(policy, pair[0].prompt, pair[0].completion))
        chosen, rejected = (logprobs(policy, x.prompt, x.completion).mean().exp() for x in pair)
        ratios.append(logsigmoid(torch.log(chosen / (1 - chosen)) - torch.log(rejected / (1 - rejected))))
    return -torch.cat(tokens).mean() - algorithm.beta * torch.stack(ratios).mean()


@pytest.mark.parametrize(
    ("algorithm", "definition"),
    [
        (DPO(steps=2, batch_size=5, beta=0.3, data="off_policy"), dpo),
        (DPO(steps=2, batch_size=5, beta=5.0, data="off_policy", loss="sigmoid_norm"), dpo),
        (ORPO(steps=2, batch_size=5, beta=0.7, data="off_policy"), orpo),
        (SimPO(steps=2, batch_size=5, beta=3.0, gamma=0.6, data="off_policy"), simpo),
        (SimPO(steps=2, batch_size=5, beta=3.0, gamma=0.0, data="on_policy"), simpo),
    ],
    ids=["dpo", "dpo_norm", "orpo", "simpo", "simpo_on_policy"],
)
def test_the_loss_on_pairs_is_its_definition(
    init: Path, algorithm: Algorithm, definition: Callable[..., Tensor]
) -> None:
    setting = make_setting(init, algorithm, answers=("7", "-31", "77", ""))
    setting = dataclasses.replace(setting, task=Scored(len))
    trainer = algorithms.build(setting)
    move(trainer.model, 1)
    examples = setting.data.examples
    assert len(examples) == 20
    pairs = list(zip(examples[::2], examples[1::2], strict=True))[:5]
    assert len({len(example.prompt + example.completion) for example in examples[:10]}) > 1  # there is padding
    expected = float(definition(exact(init, trainer), exact(init), pairs, algorithm))
    assert first_loss(trainer) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("seed", "positive"), [(2, True), (3, False)])
def test_the_loss_of_kto_is_its_definition(init: Path, seed: int, positive: bool) -> None:
    algorithm = KTO(steps=2, batch_size=6, beta=0.4, desirable_weight=1.5, undesirable_weight=0.5, data="off_policy")
    setting = make_setting(init, algorithm)
    trainer = algorithms.build(setting)
    move(trainer.model, seed)
    policy, reference = exact(init, trainer), exact(init)

    def ratio(prompt: list[int], completion: list[int]) -> Tensor:
        return logprobs(policy, prompt, completion).sum() - logprobs(reference, prompt, completion).sum()

    batch = setting.data.examples[:6]
    mismatched = [ratio(batch[index].prompt, batch[index - 1].completion) for index in range(6)]
    assert bool(torch.stack(mismatched).mean() > 0) == positive
    point = torch.stack(mismatched).mean().clamp(min=0)
    losses = [
        1.5 * (1 - torch.sigmoid(0.4 * (ratio(x.prompt, x.completion) - point)))
        if index % 2 == 0
        else 0.5 * (1 - torch.sigmoid(0.4 * (point - ratio(x.prompt, x.completion))))
        for index, x in enumerate(batch)
    ]
    assert first_loss(trainer) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_the_loss_of_rloo_is_its_definition(init: Path, beta: float) -> None:
    """The advantage leaves one out, the KL penalty is in the reward, and ratios of sequences are clipped."""
    algorithm = RLOO(steps=1, batch_size=8, group_size=4, beta=beta, epsilon=0.1)
    setting = make_setting(init, algorithm, answers=("7", "-31", "77", "5-5", "1"))
    setting = dataclasses.replace(setting, task=Scored(len))
    trainer = algorithms.build(setting)
    trainer.model.train()
    move(trainer.model, 1)
    sampled_from, reference = exact(init, trainer), exact(init)
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    assert cast(Any, setting.policy).versions == ["step-0"]
    move(trainer.model, 2)
    policy = exact(init, trainer)
    losses, clipped = [], 0
    for start in (0, 4):
        group = setting.data.examples[start : start + 4]
        assert len({tuple(example.prompt) for example in group}) == 1
        old = [logprobs(sampled_from, x.prompt, x.completion).sum() for x in group]
        rewards = [
            len(x.completion) - 1 - beta * (before - logprobs(reference, x.prompt, x.completion).sum())
            for x, before in zip(group, old, strict=True)
        ]
        for index, x in enumerate(group):
            advantage = rewards[index] - sum(rewards[:index] + rewards[index + 1 :]) / 3
            rho = torch.exp(logprobs(policy, x.prompt, x.completion).sum() - old[index])
            clipped += not 0.9 <= rho <= 1.1
            losses.append(-torch.minimum(rho * advantage, rho.clamp(0.9, 1.1) * advantage))
    assert clipped > 0
    loss = float(trainer.compute_loss(trainer.model, inputs).detach())
    assert loss == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)


# --- on-policy preferences


def test_of_a_prompt_s_samples_a_best_and_a_worst_make_a_pair(init: Path) -> None:
    setting = make_setting(init, DPO(steps=3, batch_size=4, samples_per_prompt=4), answers=("7", "-31", "77", "41"))
    setting = dataclasses.replace(setting, task=Scored(lambda text: {"7": 0.0, "-31": 2.0}.get(text, 1.0)))
    pairs = pairs_of(setting)
    assert len(pairs) == 12
    assert all(chosen.prompt == rejected.prompt for chosen, rejected in pairs)
    assert {(setting.decode(chosen.completion), setting.decode(rejected.completion)) for chosen, rejected in pairs} == {
        ("-31", "7")
    }
    assert setting.data.examples == [example for pair in pairs for example in pair]


def test_labels_are_what_the_reward_accepts_and_neighbours_are_of_different_prompts(init: Path) -> None:
    setting = make_setting(init, KTO(steps=300, batch_size=8), answers=("7", "-31", "77"))
    setting = dataclasses.replace(setting, task=Scored(lambda text: float(text == "77")))
    labelled = labelled_of(setting)
    assert len(labelled) == 2400
    assert {(setting.decode(x.completion), desirable) for x, desirable in labelled} == {
        ("7", False),
        ("-31", False),
        ("77", True),
    }
    assert all(one.prompt != other.prompt for (one, _), (other, _) in itertools.pairwise(labelled))
    assert setting.data.seen == 2400


@pytest.mark.parametrize(("worth", "word"), [(0.0, "none"), (1.0, "all")])
def test_completions_that_are_all_alike_are_no_preferences(init: Path, worth: float, word: str) -> None:
    def scored(algorithm: Algorithm) -> Setting:
        return dataclasses.replace(make_setting(init, algorithm, answers=("7", "8")), task=Scored(lambda _: worth))

    with pytest.raises(RunError, match=r"there are no pairs to train on$"):
        pairs_of(scored(ORPO(steps=1, batch_size=4)))
    with pytest.raises(RunError, match=f"^the reward accepts {word} of 4 samples .* nothing to tell apart$"):
        labelled_of(scored(KTO(steps=1, batch_size=4)))
