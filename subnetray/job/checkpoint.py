"""Checkpoints within a run: written between two optimizer steps, and gone on from by the next execution of the run.

What goes on from one ends with the bytes of a run that nobody interrupted. A checkpoint is a file (``store.results``
says where; its format: ``subnetwork.files.state``) that takes the place of the one before it at once. Weights are kept
as they are held, as what differs from the exported init or whole, whichever is smaller.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import random
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import subnetray
from subnetray.algorithms.shared.restricted import Restricted
from subnetray.algorithms.shared.resuming import optimizer_state, resume_optimizer, trainer_state
from subnetray.algorithms.shared.setting import Setting
from subnetray.config import Checkpointing
from subnetray.files import remove_unfinished
from subnetray.job.early import Early
from subnetray.job.evaluation import Score
from subnetray.job.recorder import Recorder
from subnetray.job.spec import RunSpec
from subnetray.private import Gone
from subnetray.store import results
from subnetray.subnetwork.files.container import CorruptFileError
from subnetray.subnetwork.files.state import State, from_lists, from_weights, to_lists, to_weights
from subnetray.subnetwork.hashing import weights_hash
from subnetray.subnetwork.weights import Weights

_log = logging.getLogger(__name__)

# What computes a run beside this package.
_LIBRARIES = ("accelerate", "numpy", "torch", "transformers", "trl")


@dataclass(frozen=True)
class Found:
    """An interrupted execution left this: whole, and of this very run, but for its init, which is yet to be loaded.

    ``scores``: files of early steps that were written before it.
    """

    state: State
    init_hash: str
    scores: tuple[Path, ...]

    @property
    def before(self) -> dict[str, Score]:
        """Return what the init scored."""
        return {kind: Score(**values) for kind, values in self.state.values["before"].items()}

    @property
    def drawn(self) -> dict[str, list[list[int]]]:
        """Completions of the init that are trained on, by their purpose."""
        part = self.state.part("drawn")
        return {purpose: to_lists(part.part(purpose)) for purpose in part.values}

    @property
    def fisher(self) -> Weights:
        """The Fisher information at the init that early scores begin with, while they still need it."""
        return self.state.part("early").part("fisher").tensors

    @property
    def reached(self) -> dict[str, Any]:
        """Return what transformers' trainer needs of its own."""
        reached: dict[str, Any] = self.state.values["trainer"]
        return reached

    @property
    def step(self) -> int:
        """Return how many optimizer steps were made."""
        return int(self.reached["global_step"])


def find(spec: RunSpec) -> Found | None:
    """Return what an interrupted execution of ``spec`` left, if it can be relied on; else a line of log says why."""
    path = results.checkpoint(spec.directory)
    remove_unfinished(path.parent)
    if not path.is_file():
        return None
    try:
        state, header = State.load(path)
        wanted = _identity(spec)
        for key, value in wanted.items():
            if header.get(key) != value:
                raise CorruptFileError(f"it is of another {key}")
        scores = tuple(spec.directory / name for name in header["scores"])
        for file in scores:
            if not file.is_file() or results.sha256(file) != header["scores"][file.name]:
                raise CorruptFileError(f"{file.name}, which was written before it, is damaged")
        return Found(state, header["init_hash"], scores)
    except (CorruptFileError, OSError, KeyError, TypeError, AttributeError) as error:
        ignore(spec, str(error) or repr(error))
        return None


def of_init(found: Found, spec: RunSpec, init: Weights) -> Found | None:
    """Return ``found`` if it is of a run from ``init``, its weights as exported; else a line of log says so."""
    if found.init_hash == weights_hash(init):
        return found
    ignore(spec, "it is of another init")
    return None


def ignore(spec: RunSpec, reason: str) -> None:
    """Remove a checkpoint that cannot be gone on from, and say why."""
    _log.warning("run %s begins anew, its checkpoint is ignored: %s", spec.run_id, reason)
    results.forget(spec.directory)


@dataclass(frozen=True)
class Running:
    """A run while it trains: what holds its state, and what there was before, ``init`` as exported and its scores.

    ``trainer`` is one of transformers that is :class:`subnetray.algorithms.shared.resuming.Resumable` too.
    """

    setting: Setting
    trainer: Any
    recorder: Recorder
    early: Early | None
    restricted: Restricted | None
    init: Weights
    before: dict[str, Score]

    def kept(self, optimizer: torch.optim.Optimizer, schedule: Any) -> State:
        """All of it between two steps, where gradients and logs are empty."""
        setting, state = self.setting, State()
        state.values["trainer"] = trainer_state(self.trainer.state)
        state.values["before"] = {kind: dataclasses.asdict(score) for kind, score in self.before.items()}
        state.values["schedule"] = schedule.state_dict()
        held = ((name, each.detach()) for name, each in setting.model.named_parameters())
        state.put("weights", from_weights(held, self.init))
        state.put("optimizer", optimizer_state(optimizer))
        state.put("random", _random())
        drawn = State()
        for purpose, completions in (setting.drawn or {}).items():
            drawn.put(purpose, from_lists(completions, torch.int64))
        state.put("drawn", drawn)
        for name, holder in self._holders().items():
            state.put(name, holder.kept())
        return state

    def resume(self, state: State, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        """Put all of it back but for random states; training has begun, and no step was made yet."""
        parameters = dict(self.setting.model.named_parameters())
        with torch.no_grad():
            for name, tensor in to_weights(state.part("weights"), self.init, self.setting.model.dtype):
                parameters[name].copy_(tensor)
        for name, holder in self._holders().items():
            holder.resume(state.part(name))
        resume_optimizer(optimizer, state.part("optimizer"))
        schedule.load_state_dict(state.values["schedule"])

    def _holders(self) -> dict[str, Any]:
        """Return, by name, what keeps its state itself."""
        holders = {
            "data": self.setting.data,
            "algorithm": self.trainer,
            "recorder": self.recorder,
            "early": self.early,
            "restriction": None if self.restricted is None else self.restricted.restriction,
        }
        return {name: holder for name, holder in holders.items() if holder is not None}


class Checkpoints(TrainerCallback):
    """Goes on from what was ``found``, and writes checkpoints of ``running`` as often as ``spec`` asks.

    To be the last callback of its trainer: what others do when training begins is there, and is then put right. The
    last step has none, as what follows it takes less than the steps between two.
    """

    def __init__(self, spec: RunSpec, running: Running, found: Found | None) -> None:
        self._spec, self._running, self._found = spec, running, found
        self._due = _Due(spec.checkpoint)
        self._scores: dict[str, str] = {}  # digests of files

    def on_train_begin(self, *_: Any, optimizer: Any, lr_scheduler: Any, **__: Any) -> None:
        if self._found is not None:
            self._running.resume(self._found.state, _inner(optimizer), lr_scheduler)
        self._due.begin(0 if self._found is None else self._found.step)

    def on_step_begin(
        self,
        _: TrainingArguments,
        state: TrainerState,
        __: TrainerControl,
        optimizer: Any,
        lr_scheduler: Any,
        **___: Any,
    ) -> None:
        if self._found is not None:  # what has been drawn since training began belongs to its beginning
            _resume_random(self._found.state.part("random"))
            self._found = None
        elif self._due(state.global_step):
            self._write(_inner(optimizer), lr_scheduler)
            self._due.begin(state.global_step)

    def _write(self, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        spec, running = self._spec, self._running
        step = running.trainer.state.global_step
        for early in running.setting.config.measurement.early if running.early is not None else ():
            path = spec.scores(early)
            if early <= step and path.name not in self._scores:
                self._scores[path.name] = results.sha256(path)
        header = {**_identity(spec), "step": step, "init_hash": self._init_hash(), "scores": self._scores}
        try:
            running.kept(optimizer, schedule).save(results.checkpoint(spec.directory), header)
        except (OSError, Gone) as error:  # a run that is not interrupted needs none
            _log.warning("run %s has no checkpoint of step %d: %s", spec.run_id, step, error)

    @cache  # noqa: B019 - one of these a run, which ends with it
    def _init_hash(self) -> str:
        return weights_hash(self._running.init)


class _Due:
    """Says when the next checkpoint is to be written."""

    def __init__(self, wanted: Checkpointing) -> None:
        self._wanted = wanted
        self.begin(0)

    def begin(self, step: int) -> None:
        """Count from ``step`` and from now on."""
        self._step, self._since = step, time.monotonic()

    def __call__(self, step: int) -> bool:
        steps, minutes = self._wanted.every_steps, self._wanted.every_minutes
        if step == self._step:
            return False
        return 0 < steps <= step - self._step or 0 < 60 * minutes <= time.monotonic() - self._since


def _inner(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer that Accelerate has wrapped."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner


def _random() -> State:
    """The states of all generators that a process has."""
    kind, numbers, *rest = np.random.get_state(legacy=True)
    state = State({"numpy": torch.from_numpy(np.asarray(numbers, np.int64)), "torch": torch.get_rng_state()})
    state.values = {"python": random.getstate(), "numpy": [kind, *rest]}
    if torch.cuda.is_available():
        state.tensors |= {f"cuda-{index}": each for index, each in enumerate(torch.cuda.get_rng_state_all())}
    return state


def _resume_random(state: State) -> None:
    form, numbers, gauss = state.values["python"]
    random.setstate((form, tuple(numbers), gauss))
    kind, *rest = state.values["numpy"]
    np.random.set_state((kind, state.tensors["numpy"].numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state.tensors["torch"].clone())
    devices = sorted(name for name in state.tensors if name.startswith("cuda-"))
    for name in devices:
        torch.cuda.set_rng_state(state.tensors[name].clone(), int(name.removeprefix("cuda-")))


def _identity(spec: RunSpec) -> dict[str, Any]:
    """Return what a checkpoint must be of, by what it is called where it is not."""
    return {
        "run": spec.run_id,
        "config": spec.config.to_dict(),
        "number of workers": max(1, spec.workers),
        "version of the code": _code(),
        "version of the libraries": {name: _version(name) for name in _LIBRARIES},
    }


@cache
def _code() -> str:
    """A digest of this package's source."""
    root, digest = Path(subnetray.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
