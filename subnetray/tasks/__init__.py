"""Prompts, verifiable rewards, gold completions and preference pairs. Importing this package loads no data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from subnetray.config import ArithmeticTask, DatasetTask, ReasoningGymTask
from subnetray.tasks import dataset, gym
from subnetray.tasks.arithmetic import Arithmetic
from subnetray.tasks.base import Problem, Prompt, RewardError, Task

_TASKS: dict[type, Callable[[Any], Task]] = {
    ArithmeticTask: cache(Arithmetic),  # tens of thousands of problems, which every run of a process has in common
    ReasoningGymTask: gym.ReasoningGym,
    DatasetTask: dataset.Records,
}
_WELL: set[str] = set()  # tasks that were found so, with what decides it
Config = ArithmeticTask | ReasoningGymTask | DatasetTask


def load(config: Config) -> Task:
    """Make the task that a config dataclass of ``subnetray.config`` describes."""
    return _TASKS[type(config)](config)


def offers(config: Config) -> frozenset[str]:
    """What the task has for training: ``reward``, ``gold`` completions, ``pairs`` of a better and a worse one."""
    if isinstance(config, DatasetTask):
        has = {"reward": config.reward, "gold": config.gold, "pairs": config.rejected}
        return frozenset(name for name, key in has.items() if key is not None)
    return frozenset(("reward", "gold", "pairs"))


def check(config: Config) -> None:
    """Raise ``ConfigError`` for a task that is known to be unusable without reading or downloading its data."""
    if isinstance(config, ArithmeticTask):
        load(config)
    elif isinstance(config, ReasoningGymTask):
        gym.check(config)
    elif isinstance(config, DatasetTask):
        dataset.check(config)


def prepare(config: Config, log: Callable[[str], None]) -> None:
    """Raise ``ConfigError`` for data or a reward that runs could not use; what is on the hub is downloaded.

    What was found well is not looked at again by this process, unless its files have changed.
    """
    if isinstance(config, DatasetTask):
        content = json.dumps([dataclasses.asdict(config), dataset.key(config)])
        if content not in _WELL:
            dataset.prepare(config, log)
            _WELL.add(content)


def local(config: Config) -> bool:
    """Return whether the task's data are on this machine, so that :func:`prepare` needs no network."""
    return not isinstance(config, DatasetTask) or dataset.local(config)


def task_key(config: Config) -> dict[str, Any]:
    """The JSON-serialisable content that decides the task's problems and rewards: its part in a run's identity."""
    # A time limit decides whether a run fails, not what it gives.
    content = {key: value for key, value in dataclasses.asdict(config).items() if key not in ("name", "timeout_s")}
    content["kind"] = type(config).__name__
    if isinstance(config, ReasoningGymTask):
        content |= gym.key(config)
    elif isinstance(config, DatasetTask):
        content |= dataset.key(config)
    return content


__all__ = ["Problem", "Prompt", "RewardError", "Task", "check", "load", "local", "offers", "prepare", "task_key"]
