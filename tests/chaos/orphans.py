"""All processes that came of a command, whoever their parent is by now."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence

import psutil

MARKER = "SUBNETRAY_CHAOS"
PATIENCE_S = 30.0  # also where other work takes most of the cores
_LOOK_EVERY_S = 0.25

_Identity = tuple[int, float]


class Family:
    """The processes below ``pid``, and all that have ``mark`` in their environment.

    While it is entered a thread looks for them: a process that gives itself a title loses its environment, and one
    whose parent is gone its place in the tree, so that each is known by what was seen of it first.
    """

    def __init__(self, pid: int, mark: str) -> None:
        self._mark = f"{MARKER}={mark}".encode()
        self._members: dict[_Identity, psutil.Process] = {}
        self._strangers: set[_Identity] = set()
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            self._members[_identity(process)] = process

    def __enter__(self) -> Family:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def look(self) -> None:
        """Find those that are new."""
        with self._lock:
            found: dict[int, tuple[psutil.Process, int]] = {}
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    found[process.pid] = process, process.ppid()
            inside = {pid for pid, (process, _) in found.items() if _identity(process) in self._members}
            grown = True
            while grown:  # a child may come before its parent
                grown = False
                for pid, (process, parent) in found.items():
                    if pid not in inside and (parent in inside or self._marked(process)):
                        inside.add(pid)
                        self._members[_identity(process)] = process
                        grown = True

    def alive(self) -> list[psutil.Process]:
        """Those that have not ended; a process that only waits for its parent to ask has."""
        with self._lock:
            members = list(self._members.values())
        return [process for process in members if _alive(process)]

    def named(self, *words: str) -> list[psutil.Process]:
        """Those alive whose command line has one of ``words``."""
        found = []
        for process in self.alive():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if any(word in line for word in words):
                    found.append(process)
        return found

    def outlive(self, patience_s: float | None = None) -> list[str]:
        """Wait for all to end; those that have not within ``PATIENCE_S``, or as long, are described, and killed."""
        deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
        self.look()
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
            self.look()
        said = [_describe(process) for process in left]
        end(left)
        return said

    def _marked(self, process: psutil.Process) -> bool:
        identity = _identity(process)
        if identity in self._strangers:
            return False
        try:
            with open(f"/proc/{process.pid}/environ", "rb") as file:  # noqa: PTH123 - no path to speak of
                marked = self._mark in file.read().split(b"\0")
        except OSError:
            return False
        # A child is for a moment what its parent was before it became what it is: asked again later.
        if not marked and time.time() - identity[1] > 5:
            self._strangers.add(identity)
        return marked

    def _watch(self) -> None:
        while not self._left.wait(_LOOK_EVERY_S):
            self.look()


def end(processes: Sequence[psutil.Process]) -> None:
    """Kill exactly these."""
    gone = time.monotonic() + 5
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()  # psutil compares times of creation
    # Not waited for by psutil, which would take the exit code of a child from who started it.
    while any(map(_alive, processes)) and time.monotonic() < gone:
        time.sleep(0.005)


def _identity(process: psutil.Process) -> _Identity:
    return process.pid, process.create_time()


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:80] or process.name()}"
    except psutil.Error:
        return str(process.pid)


def environment(mark: str) -> dict[str, str]:
    """The environment of a process that is to be found again."""
    return os.environ | {MARKER: mark}
