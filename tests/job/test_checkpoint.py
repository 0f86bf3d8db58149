"""A run that was interrupted and goes on ends with the bytes of one that was not."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from transformers import TrainerState

from subnetray.config import (
    DPO,
    GRPO,
    KTO,
    ORPO,
    PPO,
    PRIME,
    RAFT,
    RLOO,
    SFT,
    Algorithm,
    ArithmeticTask,
    Checkpointing,
    EmbeddedModel,
    Evaluation,
    Measurement,
    RAFTPlusPlus,
    Rollout,
    RunConfig,
    SimPO,
    Subnetwork,
)
from subnetray.job.recorder import Recorder
from subnetray.job.run import run
from subnetray.job.spec import RunSpec
from subnetray.models.tokenizer import make_tokenizer
from subnetray.rollout import Samples, Sampling
from subnetray.rollout.policy import Sync
from subnetray.store import results
from subnetray.subnetwork import weights_hash
from tests.algorithms.lab import Drawn, Scored
from tests.decoder import decoder

STEPS = 6
SIZE: dict[str, Any] = {"steps": STEPS, "batch_size": 8}
GROUPS = SIZE | {"group_size": 4}
ROUNDS = GROUPS | {"minibatches": 2, "epochs": 2}
TIMES = (results.TIME, results.TIMES)


class Interrupted(Exception):
    """In the place of a process's end."""


class Answering:
    """In the place of a policy and its engines: what is drawn depends on every bit of the weights, and on the seed."""

    def __init__(self, *_: Any) -> None:
        self.seconds = {"sync": 0.0, "rollout": 0.0, "wait": 0.0}
        self.sync = Sync()
        self._weights = ""

    def publish(self, weights: dict[str, Tensor], *_: Any) -> None:
        self._weights = weights_hash(weights)

    def compare(self, *_: Any) -> None:
        pass

    def sample(self, prompts: list[list[int]], sampling: Sampling) -> Samples:
        drawn = [random.Random(f"{self._weights} {sampling.seed + index}") for index in range(len(prompts))]
        completions = [[*rng.choices(range(2, 16), k=rng.randint(1, 4)), 1] for rng in drawn]
        return Samples(completions, [[-3.0 + rng.random() for _ in ids] for rng, ids in zip(drawn, completions)])

    def start(self, prompts: list[list[int]], sampling: Sampling) -> Drawn:
        return Drawn(self.sample(prompts, sampling))


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subnetray.rollout.Policy", Answering)
    monkeypatch.setattr("subnetray.tasks.load", lambda _: Scored(lambda text: float(len(text) % 2)))


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("init")
    decoder().save_pretrained(place)
    make_tokenizer(64).save_pretrained(place)
    return place


def _config(algorithm: Algorithm, **changes: Any) -> RunConfig:
    config = RunConfig(
        model=EmbeddedModel(),
        task=ArithmeticTask(),
        algorithm=algorithm,
        rollout=Rollout(),
        evaluation=Evaluation(prompts=4),
        measurement=Measurement(),
    )
    return dataclasses.replace(config, **changes)


def _spec(init: Path, directory: Path, config: RunConfig, every_steps: int = 0) -> RunSpec:
    return RunSpec("a", config, init, directory, (), 0, 1, 0, checkpoint=Checkpointing(every_steps=every_steps))


def _execute(spec: RunSpec, monkeypatch: pytest.MonkeyPatch, interrupt: int | None = None) -> list[int]:
    """The steps that an execution makes, which ends within ``interrupt``, when weights have moved."""
    made: list[int] = []
    plain = Recorder.on_step_end

    def on_step_end(self: Recorder, arguments: Any, state: TrainerState, *rest: Any, **more: Any) -> None:
        made.append(state.global_step)
        if state.global_step == interrupt:
            raise Interrupted
        plain(self, arguments, state, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_step_end", on_step_end)
        if interrupt is None:
            run(spec.to_dict())
        else:
            with pytest.raises(Interrupted):
                run(spec.to_dict())
    return made


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name not in TIMES}


CASES: dict[str, RunConfig] = {
    "sft": _config(SFT(**SIZE)),
    "sft, rejection, in micro-batches": _config(SFT(**SIZE, data="rejection", micro_batch_size=4, schedule="cosine")),
    "dpo": _config(DPO(**SIZE)),
    "kto": _config(KTO(**SIZE)),
    "orpo": _config(ORPO(**SIZE)),
    "simpo": _config(SimPO(**SIZE)),
    "grpo": _config(GRPO(**GROUPS)),
    "grpo, bf16, in rounds": _config(GRPO(**ROUNDS, beta=0.1), precision="bf16"),
    "grpo, stale": _config(GRPO(**GROUPS, beta=0.1), rollout=Rollout(staleness=2), precision="fp32"),
    "rloo, sgd": _config(RLOO(**ROUNDS, beta=0.1, optimizer="sgd", lr=0.1), precision="fp32"),
    "ppo": _config(PPO(**ROUNDS, beta=0.1)),
    "prime": _config(PRIME(**GROUPS)),
    "raft": _config(RAFT(**GROUPS)),
    "raft++, stale, in rounds": _config(RAFTPlusPlus(**ROUNDS), rollout=Rollout(staleness=1)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_goes_on_ends_with_the_bytes_of_one_that_was_not_interrupted(
    init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = CASES[name]
    plain = _spec(init, tmp_path / "plain", config)
    assert _execute(plain, monkeypatch) == [*range(1, STEPS + 1)]
    kept = _spec(init, tmp_path / "kept", config, every_steps=1)
    assert _execute(kept, monkeypatch, interrupt=3) == [1, 2, 3]
    assert _execute(kept, monkeypatch, interrupt=6) == [3, 4, 5, 6]  # also where it went on already
    assert _execute(kept, monkeypatch) == [6]
    assert _files(kept.directory) == _files(plain.directory)
