"""A tiny model of random weights, engines that answer what they are told, and losses one sequence at a time."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AutoTokenizer, Qwen2ForCausalLM, Trainer, TrainerCallback

from subnetray import algorithms
from subnetray.algorithms.shared.loading import Placement
from subnetray.algorithms.shared.loading import load as load_model
from subnetray.algorithms.shared.setting import DataLog, Example, Setting
from subnetray.config import (
    Algorithm,
    ArithmeticTask,
    EmbeddedModel,
    Evaluation,
    Measurement,
    Rollout,
    RunConfig,
)
from subnetray.rollout import Policy, Samples, Sampling
from subnetray.tasks import Problem, load

ANSWERS = ("7", "-31", "77", "5-5", "1")  # of engines, in turn
ENGINE_GAP = 0.02  # nats a token, by which an engine's log-probabilities are below the trainer's


@dataclass(frozen=True)
class Drawn:
    """In the place of a draw: what has been sampled already."""

    samples: Samples

    def result(self) -> Samples:
        return self.samples


class Engines:
    """In the place of engines: completions are ``answers``, in turn, as if drawn from ``model``, or nearly."""

    def __init__(self, answers: list[list[int]]) -> None:
        self.answers = answers
        self.versions: list[str] = []
        self.probed: list[bool] = []
        self.compared: list[tuple[list[float], list[float]]] = []
        self.model: Qwen2ForCausalLM | None = None
        self.draws: list[tuple[str, list[list[int]], Sampling]] = []  # what was asked for, and of which version

    def publish(self, _: dict[str, Tensor], version: str, probe: object) -> None:
        self.versions.append(version)
        self.probed.append(probe is not None)

    def compare(self, trainer: list[float], engine: list[float]) -> None:
        self.compared.append((trainer, engine))

    def start(self, prompts: list[list[int]], sampling: Sampling) -> Drawn:
        return Drawn(self.sample(prompts, sampling))

    def sample(self, prompts: list[list[int]], sampling: Sampling) -> Samples:
        self.draws.append((self.versions[-1] if self.versions else "init", prompts, sampling))
        completions = [self.answers[index % len(self.answers)] for index in range(len(prompts))]
        if self.model is None:
            return Samples(completions, [[0.0] * len(ids) for ids in completions])
        pairs = zip(prompts, completions, strict=True)
        return Samples(completions, [(logprobs(self.model, *pair) - ENGINE_GAP).tolist() for pair in pairs])


class Scored:
    """Arithmetic with a reward of any number: what the completion's text is worth."""

    def __init__(self, worth: Callable[[str], float]) -> None:
        self._task, self._worth = load(ArithmeticTask()), worth

    name = "scored"

    def train_prompts(self, count: int, seed: int) -> list[Problem]:
        return self._task.train_prompts(count, seed)

    def held_out(self, count: int) -> list[Problem]:
        return self._task.held_out(count)

    def reward(self, _: Problem, completion: str) -> float:
        return self._worth(completion)

    def corrupted(self, problem: Problem, rng: random.Random) -> str:
        return self._task.corrupted(problem, rng)


def make_setting(init: Path, algorithm: Algorithm, answers: tuple[str, ...] = ()) -> Setting:
    tokenizer = AutoTokenizer.from_pretrained(init)
    encoded = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in answers]
    config = RunConfig(
        model=EmbeddedModel(),
        task=ArithmeticTask(),
        algorithm=algorithm,
        rollout=Rollout(),
        evaluation=Evaluation(),
        measurement=Measurement(),
        precision="fp32",
    )
    return Setting(
        config=config,
        init=init,
        model=load_model(init, config, Placement(torch.float32, torch.device("cpu"))),
        tokenizer=tokenizer,
        task=load(ArithmeticTask()),
        policy=cast(Policy, Engines(encoded)),
        data=DataLog(),
        callbacks=[],
        scratch=init.parent / "scratch",
    )


def move(model: torch.nn.Module, seed: int) -> None:
    """Away from the init, as far as a long training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def exact(init: Path, trainer: Trainer | None = None) -> Qwen2ForCausalLM:
    """The init, or the trainer's present model, in float64 and without what TRL made of its forward pass."""
    model = Qwen2ForCausalLM.from_pretrained(init).double()
    if trainer is not None:
        model.load_state_dict(trainer.model.state_dict())
    return model.eval()


@torch.no_grad()
def logprobs(model: Qwen2ForCausalLM, prompt: list[int], completion: list[int]) -> Tensor:
    """Of every token of the completion, (tokens,)."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
    return logits[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None])[:, 0]


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


def by_sequence(setting: Setting, inputs: dict[str, Any]) -> list[Example]:
    """The rollouts in the order that TRL shuffled them to."""
    by_ids = {(tuple(x.prompt), tuple(x.completion)): x for x in setting.data.examples}
    return [
        by_ids[tuple(p[pm.bool()].tolist()), tuple(c[cm.bool()].tolist())]
        for p, pm, c, cm in zip(
            *(inputs[key] for key in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")), strict=True
        )
    ]


class Collect(TrainerCallback):
    """Appends what a trainer logs under ``name`` to ``values``."""

    def __init__(self, name: str, values: list[float]) -> None:
        self._name, self._values = name, values

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        if logs and self._name in logs:
            self._values.append(logs[self._name])
