"""Every kind of fault, by name: what is done to a sweep, and at which moment of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.scene import Scene


@dataclass(frozen=True)
class Fault:
    """``act`` does it. ``after``: it befalls a sweep that is done, and not one that is about to begin."""

    name: str
    about: str
    act: Callable[[Scene], None]
    after: bool
    tracked: bool  # whether W&B's files are all of this sweep's, and so can be counted


FAULTS: dict[str, Fault] = {}


def fault(name: str, after: bool = False, tracked: bool = True) -> Callable[[Callable[[Scene], None]], Fault]:
    """Enter a function into :data:`FAULTS`; its docstring's first line says what it does."""

    def enter(act: Callable[[Scene], None]) -> Fault:
        about = (act.__doc__ or name).splitlines()[0].rstrip(".")
        FAULTS[name] = Fault(name, about, act, after, tracked and not after)
        return FAULTS[name]

    return enter
