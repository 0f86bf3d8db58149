"""The page of a sweep that runs: ``report.html``, written again as runs end, by a process that gives way to all others.

``python -m subnetray.driver.live DIRECTORY SCRATCH NICE`` makes the page of the sweep in DIRECTORY, in SCRATCH, for
each line of its standard input, and answers with a line: empty, or one that says why there is none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import TracebackType

from subnetray.driver.progress import Say
from subnetray.files import write_atomic
from subnetray.process.environment import computing
from subnetray.process.libraries import load
from subnetray.store import derived
from subnetray.text import clean, reason

_NICE = 19  # the lowest priority: it has what runs and engines leave
_EVERY_S = 20  # that the page is written, at most, and loads itself again


class LivePage:
    """Writes the page while it is entered, whenever something is new; nobody waits for it, and its failure is a line.

    ``wanted``: whether it does so at all.
    """

    def __init__(self, directory: Path, say: Say, wanted: bool) -> None:
        self.wanted = wanted
        self._directory, self._say = directory, say
        self._new, self._left = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="live page", daemon=True)
        self._failed = False

    def __enter__(self) -> LivePage:
        if self.wanted:
            self._thread.start()
        return self

    def update(self) -> None:
        """Say that tables are new: the page follows, a little later."""
        self._new.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.wanted:
            return
        with self._lock:  # what is not started yet never is
            self._left.set()
            if self._process is not None:
                self._process.kill()
        self._new.set()
        # After this nobody else writes the page, and the process, which would hold memory, is gone.
        self._thread.join()

    def _run(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="subnetray-live-") as scratch:
                try:
                    while self._is_due():
                        began = time.monotonic()
                        self._write(Path(scratch))
                        self._left.wait(max(0.0, _EVERY_S - (time.monotonic() - began)))
                finally:
                    self._end()
        except OSError as error:  # of a disk that takes nothing, or a process that cannot be started
            self._fail(str(error))

    def _is_due(self) -> bool:
        self._new.wait()
        self._new.clear()
        return not self._left.is_set()

    def _write(self, scratch: Path) -> None:
        answer = self._ask(scratch)
        if answer is None:  # the process has ended, as by who needed its memory
            self._end()
            answer = self._ask(scratch)
        if self._left.is_set():
            return
        if answer is None:
            self._end()
            self._fail("its process ended")
        elif answer:
            self._fail(answer)
        else:
            try:
                write_atomic(self._directory / derived.PAGE, (scratch / derived.PAGE).read_bytes())
            except OSError as error:
                self._fail(str(error))

    def _ask(self, scratch: Path) -> str | None:
        """Have the page made; why it could not be, empty if it could. None: the process ended, or there is none."""
        process = self._started(scratch)
        if process is None:
            return None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write("\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):
            return None
        return answer.strip() if answer else None

    def _started(self, scratch: Path) -> subprocess.Popen[str] | None:
        """Return the process, which is started once and kept, as imports are most of its work; None if this is left."""
        with self._lock:
            if self._process is None and not self._left.is_set():
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(self._directory), str(scratch), str(_NICE)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env=os.environ | computing(),
                    # Ctrl-C is the driver's affair. Not in a session of its own, to which Linux would give as much of
                    # the processors as to all other processes of the sweep together, however low its priority.
                    process_group=0,
                )
            return self._process

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                try:
                    pipe.close()
                except OSError:  # what it was not told any more
                    continue

    def _fail(self, why: str) -> None:
        """Say once that the page could not be written; it is tried again all the same."""
        if not self._failed and not self._left.is_set():
            self._failed = True
            self._say(f"{derived.PAGE} could not be written while the sweep runs ({clean(why)}): the sweep goes on")


def main(directory: Path, scratch: Path, nice: int) -> None:
    """Make the page for each line of standard input."""
    os.nice(nice)
    load("subnetray.reporting.live")
    from subnetray.reporting.live import live_page

    answers = sys.stdout
    with redirect_stdout(sys.stderr):  # of sections that others add
        for _ in sys.stdin:
            said = ""
            try:
                write_atomic(scratch / derived.PAGE, live_page(directory, scratch, _EVERY_S))
            except Exception as error:  # whatever a section raises, others' too: the sweep is not to blame
                said = reason(error)
            print(said, file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
