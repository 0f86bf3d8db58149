"""PRIME and its reward model, against a direct float64 computation one sequence at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from subnetray.algorithms.prime import PRIMETrainer
from subnetray.algorithms.shared.setting import Setting
from subnetray.config import PRIME
from tests.algorithms.lab import (
    by_sequence,
    exact,
    logprobs,
    move,
    on_policy,
    roll_out,
)


def prime(init: Path, worth: Callable[[str], float], **changes: Any) -> tuple[Setting, PRIMETrainer]:
    algorithm = PRIME(**{"steps": 1, "batch_size": 6, "group_size": 3, "oversample": 1} | changes)
    setting, trainer = on_policy(init, algorithm, worth)
    assert isinstance(trainer, PRIMETrainer)
    return setting, trainer


def accepted(text: str) -> float:
    return float(text in ("7", "77", "1"))


@pytest.mark.parametrize("update", ["none", "after"])
def test_prime_starts_as_rloo_with_whitened_returns(init: Path, update: str) -> None:
    """The reward model is its own reference until its first step: only outcomes count."""
    setting, trainer = prime(init, accepted, prm_update=update, prm_lr=1e-2)
    inputs = roll_out(trainer)
    right = [accepted(setting.decode(x.completion)) for x in setting.data.examples]
    rloo = [right[i] - (sum(right[i // 3 * 3 : i // 3 * 3 + 3]) - right[i]) / 2 for i in range(6)]
    by_ids = {tuple(x.completion): value for x, value in zip(setting.data.examples, rloo, strict=True)}
    rows = [torch.full((len(x.completion),), by_ids[tuple(x.completion)]) for x in by_sequence(setting, inputs)]
    flat = torch.cat(rows)
    found = inputs["advantages"][inputs["completion_mask"].bool()]
    torch.testing.assert_close(found, (flat - flat.mean()) / flat.std(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("norm", ["batch_norm", "none"])
def test_the_advantages_of_prime_are_their_definition(init: Path, variant: str, norm: str) -> None:
    setting, trainer = prime(
        init, accepted, prm_update="none", leave_one_out=variant, process_norm=norm, process_weight=2.0, prm_beta=0.3
    )
    move(trainer.reward_model.model, 5)
    prm, reference = exact(init), exact(init)
    prm.load_state_dict(trainer.reward_model.model.state_dict())
    inputs = roll_out(trainer)
    examples = setting.data.examples
    right = [accepted(setting.decode(x.completion)) for x in examples]
    rewards = []
    for x in examples:
        r = 0.3 * (logprobs(prm, x.prompt, x.completion) - logprobs(reference, x.prompt, x.completion))
        r[-1] = 0
        rewards.append(r)
    if norm == "batch_norm":
        largest = max(float(r.flip(0).cumsum(0).abs().max()) for r in rewards)
        rewards = [r / (largest + 1e-6) for r in rewards]
    totals = {}
    for i, r in enumerate(rewards):
        others = [j for j in range(i // 3 * 3, i // 3 * 3 + 3) if j != i]
        row = 2.0 * (r - sum(float(rewards[j].mean()) for j in others) / 2)
        if variant == "code":
            row = row + 2.0 * (r - r.mean()) / 2
        row[-1] += 5.0 * (right[i] - sum(right[j] for j in others) / 2)
        totals[tuple(examples[i].prompt), tuple(examples[i].completion)] = row.flip(0).cumsum(0).flip(0)
    flat = torch.cat([totals[tuple(x.prompt), tuple(x.completion)] for x in by_sequence(setting, inputs)])
    found = inputs["advantages"][inputs["completion_mask"].bool()]
    torch.testing.assert_close(found.double(), (flat - flat.mean()) / flat.std(), rtol=1e-3, atol=1e-3)


def test_the_gradient_of_the_reward_model_is_that_of_its_belief(init: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of −log of the belief σ(β Σq) in the outcome: β(σ − right) with respect to Σq, and from there by the chain."""
    setting, trainer = prime(init, accepted, prm_update="after", prm_beta=0.3)
    move(trainer.reward_model.model, 5)
    prm, reference = exact(init), exact(init)
    prm.load_state_dict(trainer.reward_model.model.state_dict())
    monkeypatch.setattr(trainer.reward_model, "step", lambda: None)
    inputs = roll_out(trainer)
    for x in by_sequence(setting, inputs):
        logits = prm(input_ids=torch.tensor([x.prompt + x.completion])).logits[0].log_softmax(-1)
        total = logits[len(x.prompt) - 1 : -1].gather(1, torch.tensor(x.completion)[:, None]).sum()
        q = total.detach() - logprobs(reference, x.prompt, x.completion).sum()
        slope = 0.3 * (torch.sigmoid(0.3 * q) - accepted(setting.decode(x.completion)))
        (slope * total / 6).backward()
    for name, parameter in prm.named_parameters():
        found = trainer.reward_model.model.get_parameter(name).grad
        assert found is not None
        torch.testing.assert_close(found.double(), parameter.grad, rtol=1e-3, atol=4e-6)


@pytest.mark.parametrize(("update", "moves_first"), [("before", True), ("after", False)])
def test_the_reward_model_learns_before_or_after_it_rewards(init: Path, update: str, moves_first: bool) -> None:
    _, trainer = prime(init, accepted, prm_update=update, prm_lr=1e-2, outcome_weight=0.0)
    advantages = roll_out(trainer)["advantages"]
    assert bool(advantages.abs().max() > 0.1) == moves_first
    start = exact(init).state_dict()
    moved = trainer.reward_model.model.state_dict()
    assert any(not torch.equal(moved[name].double(), start[name]) for name in start)


def test_of_more_rollouts_those_of_mixed_groups_are_trained_on(init: Path) -> None:
    """Answers come in turn, by threes: of five in a row every group is another."""
    setting, trainer = prime(init, lambda text: float(text == "77"), oversample=2)
    inputs = roll_out(trainer)
    texts = [setting.decode(x.completion) for x in setting.data.examples]
    # 7 -31 77 | 5-5 1 7 | -31 77 5-5 | 1 7 -31: the first and the third have one right.
    assert texts == ["7", "-31", "77", "-31", "77", "5-5"]
    assert sorted(inputs["scores"].tolist()) == [0, 0, 0, 0, 1, 1]
    assert setting.data.seen == 6
