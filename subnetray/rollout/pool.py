"""The engines of a sweep: started once, found by name, shared by all runs of one architecture."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import ray

from subnetray.config import Rollout
from subnetray.rollout.engine import Engine, architecture
from subnetray.rollout.hf import HFEngine
from subnetray.rollout.policy import START_S, EngineError
from subnetray.rollout.vllm import VLLMEngine

ENGINES: dict[str, type[Engine]] = {"vllm": VLLMEngine, "hf": HFEngine}


@dataclasses.dataclass(frozen=True)
class Pool:
    """Names of the engines that serve an init, by its directory and rollout config; ``handles`` keep them alive."""

    names: dict[tuple[Path, Rollout], tuple[str, ...]]
    handles: tuple[Any, ...]

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when every engine answers; raises :class:`EngineError` with the reason of one that does not.

        Without a timeout: of one that cannot.
        """
        _await(self.handles, timeout_s)


def start(wanted: Iterable[tuple[Path, Rollout]], blanks: Mapping[Path, Path] | None = None) -> Pool:
    """Create engines for every init and the rollout config it is sampled with; returns before they are ready.

    What differs only in the weights, or in how it samples, shares engines. ``blanks`` has, of inits that may be yet to
    be made, the directory of all but their weights, which may be so too but comes before: inits of one blank differ in
    nothing else. Others are compared.
    """
    blanks = blanks or {}
    groups: dict[str, list[tuple[Path, Rollout]]] = {}
    for init, rollout in dict.fromkeys(wanted):
        kind = str(blanks[init]) if init in blanks else architecture(init)
        key = repr((kind, [getattr(rollout, name) for name in Rollout.ENGINE]))
        groups.setdefault(key, []).append((init, rollout))
    names: dict[tuple[Path, Rollout], tuple[str, ...]] = {}
    handles = []
    for key, members in groups.items():
        label = hashlib.sha256(key.encode()).hexdigest()[:8]
        init, rollout = members[0]
        model = init if init.is_dir() else blanks[init]
        group = tuple(f"engine-{label}-{index}" for index in range(rollout.engines))
        handles += [_actor(rollout, name, model) for name in group]
        names |= dict.fromkeys(members, group)
    return Pool(names, tuple(handles))


def connect(names: Sequence[str]) -> list[Any]:
    """Handles of engines, from any process of the sweep, once they have started; raises :class:`EngineError`."""
    return [_started(name, _cluster()) for name in names]


def _cluster() -> tuple[str, str]:
    """What tells this cluster and job from others, whose engines are called alike; Ray starts where it is not up."""
    context = ray.get_runtime_context()
    return context.get_node_id(), context.get_job_id()


@cache  # an engine that is started again later is its caller's affair, and asking may have to wait for others' calls
def _started(name: str, _: tuple[str, str]) -> Any:
    handle = ray.get_actor(name)
    _await([handle], START_S)
    return handle


def _await(handles: Sequence[Any], timeout_s: float | None) -> None:
    try:
        ray.get([handle.ready.remote() for handle in handles], timeout=timeout_s)
    except ray.exceptions.GetTimeoutError as error:
        raise EngineError(f"a rollout engine did not start within {timeout_s:g} s") from error
    except ray.exceptions.RayError as error:
        raise EngineError(f"a rollout engine did not start: {_last_line(error)}") from error


def _actor(rollout: Rollout, name: str, model: Path) -> Any:
    kind = ENGINES[rollout.name]
    return (
        ray.remote(kind)
        .options(
            name=name,
            num_cpus=rollout.cpus_per_engine,
            num_gpus=rollout.gpus_per_engine,
            # One call at a time: its model has the weights of one.
            max_concurrency=1,
            # A new process holds no weights and asks for them: a restart changes no result. What dies of every call is
            # given up by the run that makes the call.
            max_restarts=-1,
            max_task_retries=1,
            scheduling_strategy="DEFAULT",
            runtime_env={"env_vars": kind.environment(gpu=rollout.gpus_per_engine > 0)},
        )
        .remote(model, rollout)
    )


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
