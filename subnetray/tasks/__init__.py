"""Prompts, verifiable rewards and gold completions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from subnetray.config import ArithmeticTask
from subnetray.tasks.arithmetic import Arithmetic
from subnetray.tasks.base import Problem, Task

_TASKS: dict[type, Callable[[Any], Task]] = {ArithmeticTask: Arithmetic}


def load(config: Any) -> Task:
    """Make the task that a config dataclass of ``subnetray.config`` describes."""
    return _TASKS[type(config)](config)


__all__ = ["Problem", "Task", "load"]
