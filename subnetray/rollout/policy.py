"""The policy of a run, as it is sampled: which weights, which version, through which engines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import ray
from torch import Tensor

from subnetray.rollout.sampling import Samples, Sampling, concatenate
from subnetray.subnetwork.bits import flat_integers


class EngineError(RuntimeError):
    """An engine that died or did not answer in time."""


class Policy:
    """Publishes the weights of one run and samples from them.

    ``seconds`` counts the wall-clock spent in ``sync`` (publishing) and ``rollout`` (waiting for samples, which
    includes the engine's loading of new weights and its work for other runs).
    """

    def __init__(self, engines: Sequence[Any], run: str, timeout_s: float) -> None:
        self._engines = list(engines)
        self._run = run
        self._timeout_s = timeout_s
        self._version: str | None = None
        self._weights: ray.ObjectRef[dict[str, tuple[npt.NDArray[Any], tuple[int, ...]]]] | None = None
        self.seconds = {"sync": 0.0, "rollout": 0.0}

    def publish(self, weights: dict[str, Tensor], version: str) -> None:
        """Make ``weights`` (in the engines' dtype) what is sampled from; ``version`` names them within the run."""
        start = time.perf_counter()
        name = f"{self._run}/{version}"
        if name != self._version:
            # One put: every engine on a node reads the same memory.
            self._weights = ray.put(
                {key: (flat_integers(tensor), tuple(tensor.shape)) for key, tensor in weights.items()}
            )
            self._version = name
        self.seconds["sync"] += time.perf_counter() - start

    def sample(self, prompts: Sequence[list[int]], sampling: Sampling) -> Samples:
        """One completion a prompt, from the weights published last. Raises :class:`EngineError`."""
        if self._weights is None:
            raise RuntimeError("publish() weights before sampling from them")
        start = time.perf_counter()
        share = -(-len(prompts) // len(self._engines))
        calls = [
            engine.generate.remote(self._version, self._weights, prompts[first : first + share], sampling, first)
            for engine, first in zip(self._engines, range(0, len(prompts), share), strict=False)
        ]
        try:
            parts = ray.get(calls, timeout=self._timeout_s)
        except ray.exceptions.GetTimeoutError as error:
            raise EngineError(
                f"no answer from a rollout engine within {self._timeout_s:g} s (rollout.timeout_s)"
            ) from error
        except ray.exceptions.RayActorError as error:
            raise EngineError(f"a rollout engine died: {error}") from error
        self.seconds["rollout"] += time.perf_counter() - start
        return concatenate(parts)
