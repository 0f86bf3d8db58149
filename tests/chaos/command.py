"""One start of a command, watched until it and all that came of it have ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.chaos.orphans import Family, end, environment
from tests.chaos.runs import Runs
from tests.foreground import in_foreground

_POLL_S = 0.001
# Far beyond what any command of these grids takes on a busy machine.
LIMIT_S = 420.0
TRACEBACK = "Traceback (most recent call last)"

_T = TypeVar("_T")


# Set when the harness itself is told to end. Commands look at it while they wait: an exception out of a handler would
# come anywhere, and leave a lock behind that is then waited for without end.
told_to_end = threading.Event()


class Missed(Exception):
    """The moment for a fault did not come; the text says why."""


class Command:
    """``words`` as a process in a session of its own, with its output in a file, while this is entered.

    ``runs`` is told of what is done in the meantime. On leaving, what still runs is ended; ``orphans`` are then those
    that did not end by themselves in time.
    """

    def __init__(
        self, words: Sequence[str], directory: Path, said: Path, runs: Runs, variables: Mapping[str, str] | None = None
    ) -> None:
        mark = uuid.uuid4().hex
        self._said, self._runs = said, runs
        self.orphans: list[str] = []
        self.killed = False  # by what the fault did, and not of its own will
        self.began = time.monotonic()
        self.seconds = 0.0
        with said.open("w") as file:
            self._process = subprocess.Popen(
                words,
                cwd=directory,
                env=environment(mark) | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | dict(variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=in_foreground,
            )
        self.family = Family(self._process.pid, mark)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, negative of a signal; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        """Return what it wrote so far, to standard output and error."""
        return self._said.read_text(errors="replace")

    def __enter__(self) -> Command:
        self.family.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            self.kill()
            self._process.wait()
        self.seconds = self.seconds or time.monotonic() - self.began
        self.orphans += self.family.outlive()
        self.family.__exit__()
        self._runs.look()

    def until(self, happened: Callable[[], _T | None], what: str, limit_s: float = LIMIT_S) -> _T:
        """Wait until ``happened`` is true, and return it. Raises :class:`Missed` if the command ends before."""
        deadline, looked = time.monotonic() + limit_s, 0.0
        while True:
            ended = self.code is not None
            _check()
            if value := happened():
                return value
            if ended:
                raise Missed(f"the command ended with {self.code} before {what}")
            if (now := time.monotonic()) > deadline:
                raise Missed(f"no sign of {what} within {limit_s:g} s")
            if now - looked > 0.1:
                self._runs.look()
                looked = now
            time.sleep(_POLL_S)

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        """Its exit code, once it has ended; None, and its end, if it does not in time."""
        deadline = time.monotonic() + limit_s
        while self.code is None and time.monotonic() < deadline:
            _check()
            self._runs.look()
            time.sleep(0.05)
        self.seconds = time.monotonic() - self.began
        return self.code

    def pause(self, seconds: float) -> None:
        """Let so much time pass. Raises :class:`Missed` if the command ends meanwhile."""
        deadline = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= deadline or None, f"{seconds:.2f} s had passed")

    def kill(self) -> None:
        """End the driver, and nothing else, at once."""
        self.send(signal.SIGKILL)

    def kill_all(self) -> None:
        """End all that came of the command at once, as a machine that loses its power does."""
        self.killed = True
        self.kill()
        self.family.look()
        end(self.family.alive())

    def send(self, number: signal.Signals, to: Sequence[Any] | None = None) -> None:
        """A signal to the driver, or to the processes ``to``."""
        self.killed |= to is None
        for pid in [self.pid] if to is None else [process.pid for process in to]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _check() -> None:
    if told_to_end.is_set():
        raise KeyboardInterrupt
