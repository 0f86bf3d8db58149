"""An engine that serves many policies of one architecture in turn."""

from __future__ import annotations

import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import torch

from subnetray.bf16 import products
from subnetray.process.environment import forget_launcher
from subnetray.rollout.memory import Memory, question
from subnetray.rollout.messages import Answer, Target
from subnetray.rollout.sampling import Samples, Sampling
from subnetray.rollout.sync.copies import Copies
from subnetray.rollout.sync.transfer import Update
from subnetray.subnetwork.bits import from_integers

# Host copies of weights take this part of the machine's memory at most (beside the last three).
_SHARE_OF_MEMORY = 32
_LOOK_S = 0.05


class Engine(ABC):
    """A model in a process of its own, with the weights that were asked for last, and host copies of some that may be
    asked for next: what engines have in common, whichever library samples.

    Weights are named by their digest, so that an engine that is started again, or serves other runs in between, finds
    out by itself what it needs. A subclass is made from the directory of a model, which may be yet to be made while it
    imports its library and may be without weights, and a rollout config; it sets ``_dtype``, loads, samples and gives
    log-probabilities.
    """

    _dtype: torch.dtype

    def __init__(self) -> None:
        forget_launcher()
        # Weights arrive as read-only views of Ray's object store; libraries copy from them and never write.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        self._copies = Copies(limit=psutil.virtual_memory().total // _SHARE_OF_MEMORY)
        self._memory = Memory()
        self._loaded: str | None = None

    @classmethod
    def environment(cls, gpu: bool) -> dict[str, str]:
        """Variables of the process, read when libraries are imported."""
        return {"HF_HUB_OFFLINE": "1"} | ({} if gpu else {"OMP_NUM_THREADS": "1"})

    def ready(self) -> int:
        """Return the process id: answered once the engine has started."""
        return os.getpid()

    def generate(
        self, target: Target, prompts: Sequence[list[int]], sampling: Sampling, first: int, *updates: Update
    ) -> Answer:
        """Sample one completion a prompt from the weights of ``target``, which ``updates`` lead to, in this order.

        Of more prompts than are sampled at a time, the first ones are. ``first`` is the index that the first prompt has
        among all of the draw. Raises :class:`SyncError` unless the engine then holds the weights that the run
        published. What initial weights have answered already is not sampled again.
        """
        with products():
            return self._generate(target, prompts, sampling, first, updates)

    def _generate(
        self,
        target: Target,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        first: int,
        updates: Sequence[Update],
    ) -> Answer:
        prompts = prompts[: self._at_a_time(prompts, sampling)]
        asked = question(target.digest, prompts, sampling, first) if target.initial else None
        if asked is not None and (known := self._memory.recall(asked)) is not None:
            return Answer(known)
        start = time.perf_counter()
        gap = 0.0
        if target.digest != self._loaded:
            bits = self._copies.take(target.digest, updates)
            if bits is None:
                return Answer(None)
            # A failure half-way leaves weights that no digest names.
            self._loaded = None
            self._load(
                {name: from_integers(bits[name], self._dtype).reshape(shape) for name, shape in target.shapes.items()}
            )
            if target.probe is not None:
                gap = target.probe.check(target.version, self._logprobs(target.probe.ids))
            self._loaded = target.digest
        synchronised = time.perf_counter() - start
        samples = self._sample(prompts, sampling, first)
        if asked is not None:
            self._memory.keep(asked, samples)
        return Answer(samples, synchronised, gap, time.perf_counter() - start - synchronised)

    @abstractmethod
    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Make ``weights``, all of the model's, those that are sampled from."""

    @abstractmethod
    def _logprobs(self, ids: list[int]) -> list[float]:
        """Log-probability of every token of ``ids`` but the first."""

    @abstractmethod
    def _at_a_time(self, prompts: Sequence[list[int]], sampling: Sampling) -> int:
        """How many of the prompts, the first ones, are sampled while others' calls wait: one, or none of none."""

    @abstractmethod
    def _sample(self, prompts: Sequence[list[int]], sampling: Sampling, first: int) -> Samples:
        """One completion a prompt, each from a seed of its own: ``sampling.seed`` + ``first`` + its index."""


def await_model(model: Path) -> None:
    """Return once the directory of a model is there, which it is at once and whole; its maker ends whoever waits."""
    while not model.is_dir():
        time.sleep(_LOOK_S)


def is_blank(model: Path) -> bool:
    """Return whether the directory of a model is without weights, which an engine is sent before it samples anyway."""
    return not any(model.glob("*.safetensors"))


def architecture(model: Path) -> str:
    """What two directories must have in common to be served by one engine: the model's config, and its tokenizer."""
    files = ("config.json", "tokenizer.json", "tokenizer_config.json")
    return "\0".join((model / name).read_text() if (model / name).is_file() else "" for name in files)
