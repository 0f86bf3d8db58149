"""``python -m subnetray.tasks.judge FD``: scores completions one by one, in processes that end together.

Lines of JSON on standard input and output. First line in: ``function`` (a dotted path) and ``arguments`` (null, or what
the function is called with to make the reward). Then a line in, ``[prompt, completion, reference]``, for a line out,
``{"reward": number}``, ``{"no_reward": text}`` for a value that is none or ``{"error": text}``. What a reward prints
goes to standard error.

Two processes: one scores; the other watches it and ``FD``, a pipe that closes with the process that asks, however that
ends. When either is gone it kills all that a reward may have left running, daemons too, and itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any

_TEXT = 300  # characters of an error: an answer is written at once, so shorter than a pipe's unit of 4,096 bytes
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.5  # how often the watching process looks for itself, where the system gives no word


def main() -> None:
    """Fork: the child serves until standard input ends, the parent stays to end it."""
    parent = os.getppid()
    # What loses its parent becomes a child of this process, which finds it by that.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    scorer = os.fork()
    alive = int(sys.argv[1])
    if scorer == 0:
        os.close(alive)
        _serve()
        # Threads of a reward that do not end would hold an orderly exit up.
        os._exit(0)
    try:
        for standard in (0, 1):
            os.close(standard)  # so that the scorer's end is seen at once
        _watch(scorer, alive, parent)
    finally:
        _end_all()


def _serve() -> None:
    # Private copies: a reward may close, read or print to the standard ones.
    with os.fdopen(os.dup(0), "r", encoding="utf-8") as asked, os.fdopen(os.dup(1), "w") as out:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        reward = _answer(out, lambda: _load(**json.loads(asked.readline())))
        if reward is None:
            return
        _write(out, {"reward": 0.0})
        for line in asked:
            score = _answer(out, lambda line=line: _score(reward(*json.loads(line))))  # type: ignore[misc]
            if score is not None:
                _write(out, score)


def _load(function: str, arguments: dict[str, Any] | None) -> Callable[..., Any]:
    module, _, name = function.rpartition(".")
    found: Callable[..., Any] = getattr(import_module(module), name)
    if arguments is None and not callable(found):
        raise TypeError(f"{name} is {type(found).__name__}, not a function")
    return found if arguments is None else found(**arguments)


def _score(value: Any) -> dict[str, Any]:
    """Return what the reward gave as a number: Python's, NumPy's, PyTorch's, true and false; text is none."""
    if isinstance(value, str | bytes) or not hasattr(type(value), "__float__"):
        return {"no_reward": _short(repr(value))}
    return {"reward": float(value)}


def _answer(out: IO[str], call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BaseException as error:  # SystemExit too: what a reward raises is an answer
        _write(out, {"error": _short(f"{type(error).__name__}: {error}".removesuffix(": "))})
        return None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else text[: _TEXT - 3] + "..."


def _write(out: IO[str], answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _watch(scorer: int, alive: int, parent: int) -> None:
    """Return when the scorer has ended, or the process that asks it."""
    files = [alive]
    for process in (scorer, parent):
        with contextlib.suppress(OSError, AttributeError):
            files.append(os.pidfd_open(process))
    while os.getppid() == parent:
        ready, _, _ = select.select(files, [], [], _LOOK_S)
        if ready or os.waitpid(scorer, os.WNOHANG) != (0, 0):
            return


def _end_all() -> None:
    """Kill every descendant, those with a session of their own too, then this process and the rest of its group."""
    try:
        import psutil

        for _ in range(100):  # what is killed may leave children, which come here
            children = psutil.Process().children(recursive=True)
            running = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
            if not running:
                break
            for child in running:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            psutil.wait_procs(running, timeout=0.1)
    finally:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
