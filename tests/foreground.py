"""Start a process as a terminal does, whatever this one was told to ignore: CI may run in the background."""

from __future__ import annotations

import signal


def in_foreground() -> None:
    """For ``preexec_fn`` of ``subprocess.Popen``: Ctrl-C and the end of a terminal are not ignored.

    A script's background process ignores SIGINT, and one that ``nohup`` started SIGHUP, and so would their children.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
