"""W&B's process, as the driver holds it: what is sent never blocks, and it can be ended at any time."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from subnetray.driver.tracking.environment import environment
from subnetray.driver.tracking.notes import UNFINISHED
from subnetray.driver.tracking.records import dumps

Answer = dict[str, Any]


class Process:
    """Starts with the first message. ``on_answer`` is called in a thread of its own, last with ``{"did": "end"}``.

    ``greeting``: what it is told first, asked for in a thread of its own too.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        on_answer: Callable[[Answer], None],
        greeting: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._arguments, self._folder, self._on_answer, self._greeting = list(arguments), folder, on_answer, greeting
        self._messages: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._started = self._killed = self._ended = False
        self._lock = threading.Lock()
        self._answered = threading.Condition()
        self._family: set[psutil.Process] = set()
        self.unanswered = 0
        self.answers = 0
        self._since = time.monotonic()

    def start(self) -> None:
        """Begin to start the process, unless that was done before."""
        with self._lock:
            if self._started or self._killed:
                return
            self._started = True
        with self._answered:
            self.unanswered += 1  # it says when it is ready
            self._since = time.monotonic()
        threading.Thread(target=self._run, name="tracking", daemon=True).start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message, which is answered in time, unless the process has ended, which was said."""
        self.start()
        with self._answered:
            if self._ended:
                return
            if not self.unanswered:
                self._since = time.monotonic()
            self.unanswered += 1
        self._messages.put(dumps(message))

    @property
    def silent_s(self) -> float:
        """For how long there has been no answer, if one is due; seconds."""
        with self._answered:
            return time.monotonic() - self._since if self.unanswered else 0.0

    def wait(self, timeout: float) -> bool:
        """Wait for one more answer, or for the process's end; whether there was one. Seconds."""
        with self._answered:
            before = self.answers
            return self._answered.wait_for(lambda: self.answers > before or not self.unanswered, timeout)

    def kill(self) -> None:
        """End the process and all that came of it, and wait for their end (it comes within milliseconds)."""
        with self._lock:
            self._killed = True
            process = self._process
        self._messages.put(None)
        with self._answered:
            self.unanswered = 0
            self._answered.notify_all()
        if process is None:
            return
        # W&B's own service is in a session of its own: only its parent knows it.
        with suppress(psutil.Error):
            self._family.update(psutil.Process(process.pid).children(recursive=True))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for child in self._family:
            with suppress(psutil.Error):
                child.kill()
        # So that nothing is written any more to what is removed now.
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        psutil.wait_procs(self._family, timeout=1)

    def _run(self) -> None:
        try:
            process = self._spawn()
        except OSError as error:
            self._answer({"did": "end", "error": f"its process did not start: {error}"})
            return
        if process is None:
            return
        threading.Thread(target=self._listen, args=(process,), name="tracking answers", daemon=True).start()
        assert process.stdin is not None
        # A broken pipe: whoever listens is told that the process has ended.
        with suppress(OSError, ValueError), process.stdin as pipe:
            pipe.write(dumps(self._greeting()) + "\n")
            while (message := self._messages.get()) is not None:
                pipe.write(message + "\n")
                pipe.flush()

    def _spawn(self) -> subprocess.Popen[str] | None:
        scratch = self._folder / UNFINISHED
        scratch.mkdir(parents=True, exist_ok=True)
        # W&B's caches and logs of its own would gather in the home directory, if that can be written at all.
        home = {f"WANDB_{kind}_DIR": str(scratch / kind.lower()) for kind in ("CACHE", "DATA")}
        with self._lock:
            if self._killed:
                return None
            self._process = subprocess.Popen(
                [sys.executable, "-m", "subnetray.driver.tracking.worker", *self._arguments],
                env=home | environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                # Ctrl-C is for the driver, which may have more to log then.
                start_new_session=True,
            )
        return self._process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            for line in pipe:
                if not self._family:
                    with suppress(psutil.Error):
                        self._family.update(psutil.Process(process.pid).children(recursive=True))
                self._answer(json.loads(line))
        self._answer({"did": "end", "error": "its process ended"})

    def _answer(self, answer: Answer) -> None:
        if not self._killed:
            # Before it counts as answered: who waits for it finds what has come of it.
            self._on_answer(answer)
        with self._answered:
            self.answers += 1
            if answer["did"] == "end":
                self._ended, self.unanswered = True, 0
            elif answer["did"] != "progress":
                self.unanswered = max(0, self.unanswered - 1)
            self._since = time.monotonic()
            self._answered.notify_all()
