"""Ends what is left of a driver that was killed: its processes, and its private directory.

Ray's daemons end with the driver, and its workers within 3 s; but its agents first try to report the loss to a server
that is gone too, for 60 s, and processes that are being started know nothing of it yet. So a small process of our own,
which is started before all others, waits for the driver's end and, a little later, ends what is left. It knows them by
a variable of their environment, which every process has from the one that started it, however far that is.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from subnetray.process.environment import SESSION

_GRACE_S = 4.0
_GIVE_UP_S = 60.0
_LOOK_S = 0.2

# Set for whatever a driver starts: its value is the private directory. Ray's workers would write their titles over
# their environment, where the watchdog looks, unless told otherwise.
MARKS = {"SPT_NOENV": "1"}


class Watchdog:
    """Has the processes of ``session`` (a directory, which they are told of by ``SESSION``) end with this process."""

    def __init__(self, session: Path) -> None:
        # In a session of its own no Ctrl-C reaches it. Of another watchdog's process, as of a sweep that a run of a
        # sweep starts, it is none: else nobody would be left to end what it watches.
        unmarked = {name: value for name, value in os.environ.items() if name != SESSION}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(os.getpid()), str(session)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=unmarked,
            start_new_session=True,
        )

    def close(self) -> None:
        """Have it end what is left now, and itself; it is not waited for."""
        assert self._process.stdin is not None
        self._process.stdin.close()


def main(driver: int, session: Path) -> None:
    """Wait for the end of process ``driver``, which started this one, or of standard input; then end the session."""
    while os.getppid() == driver and not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        pass
    start = time.monotonic()
    # Twice, as a process may be started while others are looked at.
    for _ in range(2):
        while (left := _family(session)) and time.monotonic() - start < _GIVE_UP_S:
            if time.monotonic() - start > _GRACE_S:
                for process in left:
                    _kill(process)
            time.sleep(_LOOK_S)
    shutil.rmtree(session, ignore_errors=True)


def _family(session: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _session(process) == str(session)]


def _session(process: psutil.Process) -> str | None:
    try:
        if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(SESSION)
    except (psutil.Error, OSError):
        return None


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()  # psutil compares times of creation again


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
