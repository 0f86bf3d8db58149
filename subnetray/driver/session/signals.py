"""End a driver in order on Ctrl-C, SIGTERM (a scheduler, a container) and SIGHUP (a terminal)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

# A launcher may send what a terminal has sent already.
_SAME_S = 1.0
# Code that takes a lock and then enters what releases it: an exception between the two leaves it held, and every thread
# that imports, or logs, waits for ever. The signal comes again when the main thread is elsewhere.
_LOCKING = ("<frozen importlib", logging.__file__)
_LATER_S = 0.05
_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _State:
    number: int = signal.SIGINT  # of the first signal
    at: float | None = None
    tuning: bool = False


_state = _State()


@contextmanager
def orderly() -> Iterator[None]:
    """The first signal raises KeyboardInterrupt in the main thread, or stops Tune; a second one ends the process.

    What the process that started this one had it ignore stays ignored: SIGINT of a script's background process, SIGHUP
    of one that ``nohup`` started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _state
    _state = _State()
    before = {number: signal.getsignal(number) for number in _ASKED}
    take()
    hook = sys.unraisablehook
    sys.unraisablehook = partial(_lost, hook)
    try:
        yield
    except KeyboardInterrupt:
        raise  # the process is ending, in which a second signal is to be no error
    except BaseException:
        _give_back(before)
        raise
    else:
        _give_back(before)
    finally:
        sys.unraisablehook = hook


def _lost(hook: Callable[[sys.UnraisableHookArgs], object], lost: sys.UnraisableHookArgs) -> None:
    """Ask again where KeyboardInterrupt was raised in a callback or a destructor, out of which nothing is raised.

    As in those of importlib's locks: a signal that comes while modules are imported is lost, once in a while.
    """
    if _state.at is not None and issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(_LATER_S, _ask_again).start()  # when the main thread is somewhere else
    else:
        hook(lost)


def _ask_again() -> None:
    _state.at = None
    os.kill(os.getpid(), _state.number)


def _give_back(handlers: Mapping[signal.Signals, Any]) -> None:
    _state.at = None
    for number, handler in handlers.items():
        signal.signal(number, handler)


def take() -> None:
    """Have this module asked, whoever has taken a signal for itself meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _ASKED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


@contextmanager
def tuning() -> Iterator[None]:
    """While entered it is Tune that the first signal stops: it ends its trials, and returns."""
    # Tune then takes SIGUSR1 only, which is not given back, and by which it is asked here. Of SIGINT it would ask again
    # with a warning, and keep it when it has ended.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = signal.getsignal(signal.SIGUSR1)
    _state.tuning = True
    try:
        yield
    finally:
        _state.tuning = False
        signal.signal(signal.SIGUSR1, before)
        take()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal."""
    if frame is not None and frame.f_code.co_filename.startswith(_LOCKING):
        threading.Timer(_LATER_S, os.kill, (os.getpid(), number)).start()
        return
    now = time.monotonic()
    if _state.at is not None:
        if now - _state.at > _SAME_S:
            _leave(number)
        return
    _state.number, _state.at = number, now
    if number == signal.SIGHUP:
        _hang_up()
    stop: Any = signal.getsignal(signal.SIGUSR1)
    if _state.tuning and callable(stop):
        stop(signal.SIGUSR1, frame)
    else:
        raise KeyboardInterrupt


def exit_code() -> int:
    """Return the exit code after a signal: 128 and its number, as shells have it."""
    return 128 + _state.number


def _leave(number: int) -> None:
    # What runs have written is whole at any moment, and the watchdog ends and removes what else there is.
    os.write(2, b"subnetray: ended at once; the same command goes on from here\n")
    os._exit(128 + number)


def _hang_up() -> None:
    """Write nowhere what would go to a terminal that is gone: it is no error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and os.isatty(stream.fileno()):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
