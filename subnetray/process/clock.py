"""Wall-clock by phase: where the time of a run or of a sweep goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """``seconds`` by phase; a phase that is entered again adds up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - start)

    def add(self, phase: str, seconds: float) -> None:
        """Count ``seconds`` to a phase, or, where they are negative, take them from it."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
