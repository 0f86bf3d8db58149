"""A run that was interrupted and goes on ends with the bytes of one that was not."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerState

from subnetray.algorithms.shared.batches import OnExamples
from subnetray.algorithms.shared.rollouts import EngineRollouts
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
from subnetray.job.checkpoint import _Due, _identity, find, of_init
from subnetray.job.launch import failure
from subnetray.job.recorder import Recorder
from subnetray.job.run import run
from subnetray.job.spec import RunSpec
from subnetray.models.tokenizer import make_tokenizer
from subnetray.private import Gone
from subnetray.rollout import Samples, Sampling
from subnetray.rollout.policy import Sync
from subnetray.store import results
from subnetray.subnetwork import arms, named_weights, weights_hash
from subnetray.subnetwork.files.state import State
from tests.algorithms.lab import Drawn, Scored
from tests.decoder import decoder

STEPS = 6
SIZE: dict[str, Any] = {"steps": STEPS, "batch_size": 8}
GROUPS = SIZE | {"group_size": 4}
ROUNDS = GROUPS | {"minibatches": 2, "epochs": 2}
TIMES = (results.TIME, results.TIMES)


class Interrupted(Exception):
    """Stands in for a process's end."""


class Answering:
    """Stands in for a policy and its engines: what is drawn depends on every bit of the weights, and on the seed."""

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
        return Samples(
            completions, [[-3.0 + rng.random() for _ in ids] for rng, ids in zip(drawn, completions, strict=True)]
        )

    def start(self, prompts: list[list[int]], sampling: Sampling) -> Drawn:
        return Drawn(self.sample(prompts, sampling))


def _stand_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("subnetray.rollout.Policy", Answering)
    patch.setattr("subnetray.tasks.load", lambda _: Scored(lambda text: float(len(text) % 2)))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch)


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
    "sft, rejection, in micro-batches": _config(SFT(**SIZE, data="rejection", micro_batch_size=4, schedule="cosine")),
    "dpo": _config(DPO(**SIZE)),
    "kto": _config(KTO(**SIZE)),
    "orpo": _config(ORPO(**SIZE)),
    "simpo": _config(SimPO(**SIZE)),
    "grpo": _config(GRPO(**GROUPS)),
    "grpo, bf16, in rounds": _config(GRPO(**ROUNDS, beta=0.1, micro_batch_size=4), precision="bf16"),
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
    # In the last case also where it went on already.
    last = name == [*CASES][-1]
    assert _execute(kept, monkeypatch, interrupt=3) == [1, 2, 3]
    if last:
        assert _execute(kept, monkeypatch, interrupt=6) == [3, 4, 5, 6]
    assert _execute(kept, monkeypatch) == ([6] if last else [3, 4, 5, 6])
    assert _files(kept.directory) == _files(plain.directory)


def test_a_restricted_run_goes_on_too(init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its optimizer holds the mask's coordinates alone, and its checkpoint no more of the weights than these."""
    shapes = {name: tuple(each.shape) for name, each in decoder().named_parameters()}
    arms.random(shapes, sum(each.numel() for each in decoder().parameters()) // 20, seed=0).save(tmp_path / "mask", {})
    subnetwork = Subnetwork(mask=str(tmp_path / "mask"), clip="after")
    config = _config(GRPO(**GROUPS, max_grad_norm=0.1), subnetwork=subnetwork, measurement=Measurement(every=4))
    _execute(_spec(init, tmp_path / "plain", config), monkeypatch)
    plain, kept = _files(tmp_path / "plain"), _interrupted(init, tmp_path / "kept", config, monkeypatch, step=3)
    assert "restriction.safetensors" in plain
    assert kept == plain


def test_scores_of_early_steps_are_those_of_a_run_that_was_not_interrupted(
    init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(SFT(**SIZE), measurement=Measurement(every=4, early=(1, 4)))
    _execute(_spec(init, tmp_path / "plain", config), monkeypatch)
    plain = _files(tmp_path / "plain")
    assert {"early-1.safetensors", "early-4.safetensors"} <= plain.keys()
    for step in (3, 6):  # between two of them, and after the last
        assert _interrupted(init, tmp_path / str(step), config, monkeypatch, step) == plain


def _interrupted(
    init: Path, place: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch, step: int
) -> dict[str, bytes]:
    """The files of a run that was interrupted in a step, and went on."""
    kept = _spec(init, place, config, every_steps=2)
    _execute(kept, monkeypatch, interrupt=step)
    last = (step - 1) // 2 * 2
    assert _execute(kept, monkeypatch) == [*range(last + 1, STEPS + 1)]
    assert json.loads((kept.directory / results.TIME).read_text())["went_on_from_step"] == last
    return _files(kept.directory)


def _truncated(path: Path, _: RunSpec) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flipped(path: Path, _: RunSpec) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


def _no_file_of_ours(path: Path, _: RunSpec) -> None:
    save_file({"weights": torch.zeros(2)}, path)


def _says(key: str, value: Any) -> Callable[[Path, RunSpec], None]:
    def change(path: Path, spec: RunSpec) -> None:
        state, header = State.load(path)
        known = {name: header[name] for name in ("step", "init_hash", "scores", *_identity(spec))}
        state.save(path, known | {key: value})

    return change


def _lost_scores(_: Path, spec: RunSpec) -> None:
    spec.scores(1).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncated, "no safetensors file|truncated"),
        (_flipped, "damaged"),
        (_no_file_of_ours, "was not written by subnetray"),
        (_says("config", {}), "it is of another config"),
        (_says("run", "b"), "it is of another run"),
        (_says("version of the code", ""), "it is of another version of the code"),
        (_says("init_hash", ""), "it is of another init"),
        (_lost_scores, "early-1.safetensors, which was written before it, is damaged"),
    ],
)
def test_a_checkpoint_that_is_damaged_or_of_something_else_is_ignored_in_one_line(
    interrupted: RunSpec,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path, RunSpec], None],
    words: str,
) -> None:
    spec = _copy(interrupted, tmp_path)
    path = results.checkpoint(spec.directory)
    found = find(spec)
    assert found is not None
    assert found.step == 2
    damage(path, spec)
    found = find(spec)
    if found is not None:
        found = of_init(found, spec, named_weights(decoder(), torch.bfloat16))
    assert found is None
    assert not path.parent.exists()
    (line,) = caplog.messages
    assert re.search(words, line)


@pytest.fixture(scope="module")
def interrupted(init: Path, tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    """A run that was interrupted in its third step."""
    with pytest.MonkeyPatch.context() as patch:
        _stand_in(patch)
        config = _config(SFT(**SIZE), measurement=Measurement(early=(1,)))
        spec = _spec(init, tmp_path_factory.mktemp("interrupted"), config, every_steps=1)
        _execute(spec, patch, interrupt=3)
    return spec


def _copy(spec: RunSpec, place: Path) -> RunSpec:
    shutil.copytree(spec.directory, place / "run")
    return dataclasses.replace(spec, directory=place / "run")


def test_what_was_kept_is_gone_on_from_also_where_nothing_more_is_kept(
    interrupted: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """... and neither a disk that takes no checkpoint nor another TRL ends a run."""
    spec = dataclasses.replace(_copy(interrupted, tmp_path), checkpoint=Checkpointing())
    assert _execute(spec, monkeypatch, interrupt=4) == [3, 4]
    errors: list[Exception] = [OSError(28, "No space left on device"), Gone("TRL's trainer has no _step"), OSError()]

    def fail(*_: Any) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(State, "save", fail)
    spec = dataclasses.replace(spec, checkpoint=Checkpointing(every_minutes=1e-9))
    assert _execute(spec, monkeypatch) == [3, 4, 5, 6]
    assert [line.partition(":")[0] for line in caplog.messages] == [
        f"run a has no checkpoint of step {step}" for step in (3, 4, 5)
    ]
    assert not results.checkpoint(spec.directory).parent.exists()


@pytest.mark.parametrize("holder", [OnExamples, EngineRollouts])
def test_what_trl_does_not_call_so_any_more_is_named(holder: Any) -> None:
    with pytest.raises(Gone, match=r"^TRL.s trainer has no _"):
        object.__new__(holder).kept()


def test_checkpoints_are_due_by_steps_or_by_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    due = _Due(Checkpointing(every_steps=10, every_minutes=2))
    found = []
    for step, seconds in ((0, 500), (1, 60), (9, 119), (9, 120), (10, 0), (12, 120), (22, 125), (22, 400)):
        now[0] = seconds
        if due(step):
            found.append((step, seconds))
            due.begin(step)
    assert found == [(9, 120), (22, 125)]
    assert not any(_Due(Checkpointing())(step) for step in range(100))


def test_a_failed_run_keeps_no_checkpoint(interrupted: RunSpec, tmp_path: Path) -> None:
    """A run that failed would fail again from its checkpoint."""
    spec = _copy(interrupted, tmp_path)
    failure(spec, "loss is nan at step 3")
    assert sorted(_files(spec.directory)) == [results.CONFIG, results.RESULT]
