"""Trainers on rollouts, against a direct float64 computation one sequence at a time."""

from __future__ import annotations

import copy
import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM, Trainer, TrainerCallback

from subnetray import algorithms
from subnetray.algorithms.ppo import PPOTrainer
from subnetray.algorithms.prime import PRIMETrainer
from subnetray.algorithms.setting import Example, Setting
from subnetray.config import DPO, GRPO, PPO, PRIME, RAFT, RLOO, SFT, Algorithm, OnPolicy, RAFTPlusPlus
from subnetray.subnetwork import named_weights
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


# --- PPO


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


def by_sequence(setting: Setting, inputs: dict[str, Any]) -> list[Example]:
    """The rollouts in the order that TRL shuffled them to."""
    by_ids = {(tuple(x.prompt), tuple(x.completion)): x for x in setting.data.examples}
    return [
        by_ids[tuple(p[pm.bool()].tolist()), tuple(c[cm.bool()].tolist())]
        for p, pm, c, cm in zip(
            *(inputs[key] for key in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")), strict=True
        )
    ]


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


class Collect(TrainerCallback):
    def __init__(self, name: str, values: list[float]) -> None:
        self._name, self._values = name, values

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        if logs and self._name in logs:
            self._values.append(logs[self._name])


# --- PRIME


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
        torch.testing.assert_close(found.double(), parameter.grad, rtol=1e-3, atol=1e-6)


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
