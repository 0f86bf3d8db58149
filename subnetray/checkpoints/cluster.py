"""Comparing parts on a Ray cluster: every process reads the files itself, at the same paths."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import ray
from ray.exceptions import RayTaskError

from subnetray.checkpoints.compare import PART

# Coordinates a task: its fixed cost, a few milliseconds, weighs little then, and its results fit the object store.
TASK = 8 * PART


class RayExecutor(Executor):
    """Runs calls as Ray tasks of one CPU each, on the cluster that this process is connected to."""

    def __init__(self) -> None:
        self._call = ray.remote(num_cpus=1, max_retries=3)(_call)
        self._stored: dict[int, tuple[Any, Any]] = {}  # what is called, and where all tasks find it

    @property
    def workers(self) -> int:
        """How many tasks the cluster runs at once."""
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        if id(function) not in self._stored:
            self._stored[id(function)] = (function, ray.put(function))
        outcome: Future[Any] = Future()

        def settle(done: Future[Any]) -> None:
            error = done.exception()
            if error is None:
                outcome.set_result(done.result())
            else:  # what the function raised, not Ray's account of where it did
                outcome.set_exception(error.cause if isinstance(error, RayTaskError) else error)

        _, stored = self._stored[id(function)]
        self._call.remote(stored, *arguments, **keywords).future().add_done_callback(settle)
        return outcome


def _call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    return function(*arguments, **keywords)
