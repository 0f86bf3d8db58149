"""Ends what Ray leaves behind when its driver is killed.

Ray's daemons end with the driver, and its workers within 3 s; but its agents first try to report the loss to a server
that is gone too, for 60 s. So a small process of our own waits for the driver's end and, a little later, ends what is
left of exactly the processes that it was told of.
"""

from __future__ import annotations

import subprocess
import sys

import psutil

_GRACE_S = 5.0

_watchdogs: list[subprocess.Popen[bytes]] = []


def watch() -> None:
    """Have all processes that this one has started so far, and theirs, end with it, however it ends."""
    family = [f"{process.pid}:{process.create_time()}" for process in psutil.Process().children(recursive=True)]
    # Nobody else holds the other end of its standard input, which closes when this process is gone. In a session of its
    # own no Ctrl-C reaches it.
    _watchdogs.append(
        subprocess.Popen(
            [sys.executable, "-m", __name__, *family],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    )


def main(family: list[str]) -> None:
    """Wait for the end of standard input, then for the processes ``family`` (pid:time of creation), then kill them."""
    sys.stdin.buffer.read()
    left = [process for process in map(_find, family) if process is not None]
    _, left = psutil.wait_procs(left, timeout=_GRACE_S)
    for process in left:
        process.kill()  # psutil compares times of creation again


def _find(identity: str) -> psutil.Process | None:
    pid, _, created = identity.partition(":")
    try:
        process = psutil.Process(int(pid))
    except psutil.NoSuchProcess:
        return None
    # Times of creation are counted from the boot, which a clock that is set moves a little.
    return process if abs(process.create_time() - float(created)) < 2 else None


if __name__ == "__main__":
    main(sys.argv[1:])
