"""Bound the time that a sweep waits for W&B at its end."""

from __future__ import annotations

import time
from collections.abc import Callable

from subnetray.driver.tracking.process import Process

TOTAL_S = 10.0
_SERVER_S = 6.0  # of them for a server; the others are for writing offline what it did not take
_NORMAL_S = 2.0
_SLOW_S = 1.5


class Patience:
    """The seconds that may still be waited, ten in all for a sweep.

    Counted is what is waited in vain, and of a wait that ends with an answer (a record is logged, or W&B's process has
    been at work) what is beyond two seconds. So many runs may take their time as long as W&B works, and one that does
    not costs ten seconds, however many wait for it.
    """

    def __init__(self) -> None:
        self._left = TOTAL_S

    def for_server(self, process: Process, when_slow: Callable[[], None]) -> bool:
        """Wait until a server has answered everything; False if that used up its part of the patience.

        ``when_slow`` is called once an answer takes so long that it may not come.
        """
        return self._wait(process, TOTAL_S - _SERVER_S, when_slow)

    def for_disk(self, process: Process) -> bool:
        """Wait until everything is written; False if that used up the patience."""
        return self._wait(process, 0.0)

    def _wait(self, process: Process, reserve: float, when_slow: Callable[[], None] = lambda: None) -> bool:
        since = time.monotonic()
        while process.unanswered:
            left = self._left - reserve - (time.monotonic() - since)
            if process.wait(max(0.0, min(left, _SLOW_S))):
                self._left -= max(0.0, time.monotonic() - since - _NORMAL_S)
                since = time.monotonic()
            elif left > _SLOW_S:
                when_slow()
            if self._left <= reserve or left <= 0:
                self._left = min(self._left, reserve)
                return not process.unanswered
        return True
