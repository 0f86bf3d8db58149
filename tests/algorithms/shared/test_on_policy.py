"""Trainers on rollouts, against a direct float64 computation one sequence at a time."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM

from subnetray import algorithms
from subnetray.algorithms.shared.setting import RunError, Setting
from subnetray.config import DPO, GRPO, PPO, PRIME, RAFT, RLOO, SFT, Algorithm, OnPolicy, RAFTPlusPlus
from tests.algorithms.lab import (
    ANSWERS,
    ENGINE_GAP,
    Collect,
    Engines,
    Scored,
    clipped,
    exact,
    logprobs,
    loss_of,
    make_setting,
    move,
    on_policy,
    roll_out,
)

AGGREGATIONS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "grpo": lambda losses: torch.stack([each.mean() for each in losses]).mean(),
    "bnpo": lambda losses: torch.cat(losses).mean(),
    "dapo": lambda losses: torch.cat(losses).mean(),
    "dr_grpo": lambda losses: torch.cat(losses).sum() / (len(losses) * 5),
}


@pytest.mark.parametrize("algorithm", [GRPO(steps=1, batch_size=8, group_size=4, beta=0.1), RAFT(batch_size=8)])
def test_rollouts_of_one_step_are_passed_through_the_model_once(init: Path, algorithm: OnPolicy) -> None:
    """... to the loss and gradient of two passes."""
    gradients: list[list[Tensor]] = []
    losses: list[float] = []
    passes: list[int] = []

    def count(_: torch.nn.Module, __: Any, values: dict[str, Any]) -> None:
        if "labels" in values:  # not the probe's
            passes.append(len(losses))

    for one_pass in (True, False):
        _, trainer = on_policy(init, algorithm)
        trainer._one_pass &= one_pass
        trainer.model.register_forward_pre_hook(count, with_kwargs=True)
        loss = trainer.compute_loss(trainer.model, roll_out(trainer))
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([cast(Tensor, each.grad) for each in trainer.model.parameters()])
    assert passes == [0, 1, 1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for once, twice in zip(*gradients, strict=True):
        assert float(twice.abs().max()) > 0
        torch.testing.assert_close(once, twice, rtol=1e-4, atol=1e-5 * float(twice.abs().max()))


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
        PPO(steps=2, batch_size=8, group_size=1, epochs=2, beta=0.1),
        PRIME(steps=2, batch_size=8, group_size=4, prm_lr=1e-3),
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


# --- rollouts that are drawn ahead


def stale(setting: Setting, staleness: int) -> Setting:
    rollout = dataclasses.replace(setting.config.rollout, staleness=staleness)
    return dataclasses.replace(setting, config=dataclasses.replace(setting.config, rollout=rollout))


@pytest.mark.parametrize(("size", "staleness", "probed"), [(64, 0, False), (64, 1, True), (60, 0, True)])
def test_enough_fresh_rollouts_are_their_own_probe(init: Path, size: int, staleness: int, probed: bool) -> None:
    algorithm = GRPO(steps=2, batch_size=size, group_size=4)
    setting = stale(dataclasses.replace(make_setting(init, algorithm, answers=ANSWERS), task=Scored(len)), staleness)
    engines = cast(Engines, setting.policy)
    trainer = algorithms.build(setting)
    engines.model = exact(init)
    trainer.train()
    assert engines.probed == [probed] * 2
    assert len(engines.compared) == (0 if probed else 2)
    if not probed:
        trained, drawn = engines.compared[0]  # what the engines said of all that they drew, beside the trainer's own
        lengths = sum(len(x.completion) for x in setting.data.examples[:size])
        assert len(trained) == len(drawn) == lengths
        assert trained == pytest.approx([each + ENGINE_GAP for each in drawn], abs=1e-4)


@pytest.mark.parametrize("staleness", [1, 2])
@pytest.mark.parametrize(
    "algorithm",
    [
        GRPO(steps=5, batch_size=4, group_size=2),
        GRPO(steps=7, batch_size=4, group_size=2, minibatches=2, epochs=1),
        PPO(steps=6, batch_size=4, group_size=1, epochs=2),
        PRIME(steps=4, batch_size=4, group_size=2, oversample=2),
    ],
    ids=["grpo", "minibatches", "ppo", "prime"],
)
def test_rollouts_are_of_the_policy_some_rounds_ago(init: Path, algorithm: OnPolicy, staleness: int) -> None:
    """... for the same prompts, with the same seeds; those of the first rounds are of the init."""
    asked: dict[int, Engines] = {}
    lags: list[float] = []
    for each in (0, staleness):
        setting = dataclasses.replace(make_setting(init, algorithm, answers=ANSWERS), task=Scored(len))
        setting = stale(setting, each)
        asked[each] = cast(Engines, setting.policy)
        asked[each].model = exact(init)
        trainer = algorithms.build(setting)
        trainer.add_callback(Collect("rollout_lag", lags))
        trainer.train()
    assert [draw[1:] for draw in asked[staleness].draws] == [draw[1:] for draw in asked[0].draws]
    steps = algorithm.minibatches * algorithm.epochs
    rounds = -(-algorithm.steps // steps)
    assert [version for version, *_ in asked[0].draws] == [f"step-{number * steps}" for number in range(rounds)]
    source = [max(0, number - staleness) * steps for number in range(rounds)]
    assert [version for version, *_ in asked[staleness].draws] == [f"step-{step}" for step in source]
    assert lags == [number * steps - step for number, step in zip(range(rounds), source, strict=True)]


def test_stale_rollouts_weigh_what_the_present_policy_makes_of_them(init: Path) -> None:
    """By the ratio of a whole completion's probabilities; none beyond 3, TRL's limit, is learned from."""
    algorithm = GRPO(steps=2, batch_size=10, group_size=5, loss="bnpo")
    setting = stale(dataclasses.replace(make_setting(init, algorithm, answers=ANSWERS), task=Scored(len)), 1)
    trainer = algorithms.build(setting)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    engines = cast(Engines, setting.policy)
    old = engines.model = exact(init, trainer)
    rows = iter(trainer.get_train_dataloader())
    trainer._prepare_inputs(next(rows))
    move(trainer.model, 1)
    policy = engines.model = exact(init, trainer)
    trainer.state.global_step = 1
    inputs = trainer._prepare_inputs(next(rows))
    examples = setting.data.examples[10:]
    rewards = torch.tensor([len(x.completion) - 1.0 for x in examples], dtype=torch.float64).view(2, 5)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).flatten()
    losses, ratios = [], []
    for x, advantage in zip(examples, advantages, strict=True):
        moved = logprobs(policy, x.prompt, x.completion) - (logprobs(old, x.prompt, x.completion) - ENGINE_GAP)
        ratio = float(moved.sum().exp())
        ratios.append(ratio)
        losses.append(torch.full((len(x.completion),), -float(advantage) * (ratio if ratio <= 3 else 0.0)))
    assert min(ratios) < 0.9
    assert any(1.2 < ratio < 3 for ratio in ratios)
    assert loss_of(trainer, inputs) == pytest.approx(float(torch.cat(losses).mean()), rel=1e-3)


def test_rollouts_for_other_prompts_are_no_silent_mistake(init: Path) -> None:
    setting = dataclasses.replace(make_setting(init, GRPO(steps=2, batch_size=4, group_size=2), answers=ANSWERS))
    trainer = algorithms.build(stale(setting, 1))
    with pytest.raises(RuntimeError, match="round 1 were drawn for other prompts than are trained on"):
        trainer.draw([[1, 2]] * 4)


def test_a_policy_whose_weights_are_nan_is_called_so_and_its_engines_are_not_blamed(init: Path) -> None:
    setting, trainer = on_policy(init, GRPO(batch_size=64, group_size=8))
    assert not cast(Any, trainer).probes
    trainer.state.global_step = 4
    with torch.no_grad():
        trainer.model.lm_head.weight[1, 1] = torch.nan
    with pytest.raises(RunError, match=r"^weights are NaN or infinite at step 4$"):
        roll_out(trainer)
    assert cast(Engines, setting.policy).compared == []
