"""What happens beside the driver's own work, and without which its runs could not go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from subnetray.config import ConfigError
from subnetray.driver.session import signals


class StartError(RuntimeError):
    """Something that runs cannot do without did not start; its text is one sentence that says what, and why."""


class Background:
    """Threads whose failure interrupts the main one, as Ctrl-C does, and is then what it ends with.

    Bad input they raise themselves, all else is a :class:`StartError` with its text. They are not waited for: what
    fails once this is left is of no interest any more. A script's background process, which ignores Ctrl-C, does not
    while this is entered (as under Ray Tune): else it would wait for ever.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._left = False
        self._lock = threading.Lock()
        self._handler: Any = None

    def __enter__(self) -> Background:
        self._handler = signal.getsignal(signal.SIGINT)
        if self._handler == signal.SIG_IGN:
            signal.signal(signal.SIGINT, signals.interrupt)
        return self

    def run(self, work: Callable[[], None]) -> None:
        """Start ``work``, and return."""
        threading.Thread(target=self._watch, args=(work,), daemon=True).start()

    def _watch(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            with self._lock:
                if not self._left and self._error is None:
                    self._error = error
                    os.kill(os.getpid(), signal.SIGINT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._left = True
        if self._handler == signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if isinstance(self._error, ConfigError):
            raise self._error from None
        if self._error is not None:
            raise StartError(str(self._error)) from self._error
