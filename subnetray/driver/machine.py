"""What the machine or cluster offers, and whether a sweep fits on it: asked before any work begins."""

from __future__ import annotations

import importlib.util
import os

import psutil

from subnetray.config import ConfigError, SweepConfig

_PACKAGES = ("torch", "transformers", "trl", "datasets", "ray", "vllm", "wandb", "pandas", "matplotlib")
_GIB = 1 << 30
# Measured on a CPU: Ray's own processes, and one engine with the embedded model.
_RAY_GIB, _ENGINE_GIB = 1.0, 1.5


def check_packages() -> None:
    """Raise ConfigError naming a package that running a sweep needs and that is not installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"running a sweep needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed:"
            " pip install 'subnetray[cpu]', or 'subnetray[gpu]' on machines with GPUs"
        )


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def runs_at_once(sweep: SweepConfig, engines: int) -> int:
    """How many runs a local sweep executes at once. Raises ConfigError if not even one fits in memory or cores."""
    cluster = sweep.cluster
    cpus = cluster.cpus_per_run * max(1, cluster.workers)
    by_cores = int(cores() // cpus)
    if by_cores < 1:
        raise ConfigError(f"cluster.cpus_per_run asks for {cpus:g} cores a run, and this machine has {cores()}")
    fixed = _RAY_GIB + _ENGINE_GIB * engines
    free = psutil.virtual_memory().available / _GIB
    by_memory = int((free - fixed) // cluster.memory_gib_per_run)
    if by_memory < 1:
        raise ConfigError(
            f"cluster.memory_gib_per_run asks for {cluster.memory_gib_per_run:g} GiB a run beside {fixed:g} GiB for Ray"
            f" and {engines} rollout engines, and {free:.1f} GiB are free: free memory, or lower it if runs need less"
        )
    most = min(by_cores, by_memory)
    return most if cluster.max_concurrent is None else min(most, cluster.max_concurrent)
