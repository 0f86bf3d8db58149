"""What the machine or cluster offers, and whether a sweep fits on it: asked before any work begins."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterable
from pathlib import Path

import psutil

from subnetray.config import ConfigError, Rollout, SweepConfig
from subnetray.driver import container

_PACKAGES = (
    *("torch", "transformers", "trl", "datasets", "ray", "wandb"),
    *("pandas", "matplotlib", "altair", "vl_convert"),  # of the report
)
GIB = 1 << 30
# Measured on a CPU: Ray's own processes, and one engine with the embedded model but for its KV cache.
_RAY_GIB = 1.0
_ENGINE_GIB = {"vllm": 1.4, "hf": 0.6}
# Of a core, for the process that waits for the workers of a run.
WAITING_CPUS = 0.1


def check_packages(rollouts: Iterable[Rollout]) -> None:
    """Raise ConfigError naming a package that running a sweep needs and that is not installed."""
    needed = (*_PACKAGES, *(["vllm"] if any(rollout.name == "vllm" for rollout in rollouts) else []))
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"running a sweep needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed:"
            " pip install 'subnetray[cpu]', or 'subnetray[gpu]' on machines with GPUs"
            + (" (rollout=hf does without vllm)" if "vllm" in missing else "")
        )


def cores() -> int:
    """Processors that this process may use: of the machine, and of the time that its container is given."""
    limit = container.cpu_limit()
    there = len(os.sched_getaffinity(0))
    return there if limit is None else max(1, min(there, int(limit)))


def memory_gib() -> float:
    """Return the free bytes of the machine's memory, or of its container's if these are fewer."""
    left, free = container.memory_left(), psutil.virtual_memory().available
    return (free if left is None else min(free, left)) / GIB


def gpus() -> int:
    """NVIDIA GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return sum(bool(name.strip()) and name.strip() != "-1" for name in visible.split(","))
    return len([path for path in Path("/dev").glob("nvidia*") if path.name[6:].isdigit()])


def engines(rollouts: Iterable[Rollout]) -> int:
    """Engines that these rollouts need at least: what differs only in how it samples shares them."""
    return sum(
        {tuple(getattr(rollout, key) for key in Rollout.ENGINE): rollout.engines for rollout in rollouts}.values()
    )


def runs_at_once(sweep: SweepConfig, engines: int) -> int:
    """How many runs a local sweep executes at once. Raises ConfigError if not even one fits beside the engines."""
    cluster, rollout = sweep.cluster, sweep.run.rollout
    workers = max(1, cluster.workers)
    cpus, parts = cluster.cpus_per_run, ""
    if cluster.workers:
        cpus = cpus * workers + WAITING_CPUS
        parts = f" ({workers} workers, and {WAITING_CPUS:g} for what waits for them)"
    most = min(
        _fit("cpus", cores(), cpus, rollout.cpus_per_engine * engines, parts),
        _fit("gpus", gpus(), cluster.gpus_per_worker * workers, rollout.gpus_per_engine * engines),
    )
    fixed = _RAY_GIB + (_ENGINE_GIB[rollout.name] + rollout.kv_cache_mib / 1024) * engines
    free = memory_gib()
    by_memory = int((free - fixed) // cluster.memory_gib_per_run)
    if by_memory < 1:
        raise ConfigError(
            f"cluster.memory_gib_per_run asks for {cluster.memory_gib_per_run:g} GiB a run beside {fixed:.1f} for Ray"
            f" and {engines} rollout engines, and {free:.1f} GiB are free: free memory, or lower it if runs need less"
        )
    most = min(most, by_memory)
    return int(most if cluster.max_concurrent is None else min(most, cluster.max_concurrent))


def _fit(kind: str, there: int, run: float, engines: float, parts: str = "") -> float:
    """Runs that fit beside the engines; ``kind`` is cpus or gpus."""
    what, key = {"cpus": ("cores", "cpus_per_run"), "gpus": ("GPUs", "gpus_per_worker")}[kind]
    if engines > there:
        raise ConfigError(
            f"rollout.engines and rollout.{kind}_per_engine ask for {engines:g} {what}, and this machine has {there}"
        )
    if run > there - engines:
        beside = f" beside {engines:g} for rollout engines" if engines else ""
        raise ConfigError(f"cluster.{key} asks for {run:g} {what} a run{parts}{beside}, and this machine has {there}")
    # Fractions that fill the machine exactly, such as ten tenths, must not be lost to rounding.
    return (there - engines + 1e-9) // run if run else math.inf
