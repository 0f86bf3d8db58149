"""``python -m subnetray.tasks.judge``: a process that scores completions one by one, and that can be killed.

Lines of JSON on standard input and output. First line in: ``function`` (a dotted path) and ``arguments`` (null, or what
the function is called with to make the reward). Then a line in, ``[prompt, completion, reference]``, for a line out,
``{"reward": number}`` or ``{"error": text}``. What a reward prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any


def main() -> None:
    """Serve until standard input ends."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        reward = _answer(out, lambda: _load(**json.loads(sys.stdin.readline())))
        if reward is not None:
            _write(out, {"reward": 0.0})
            for line in sys.stdin:
                value = _answer(out, lambda line=line: float(reward(*json.loads(line))))  # type: ignore[misc]
                if value is not None:
                    _write(out, {"reward": value})


def _load(function: str, arguments: dict[str, Any] | None) -> Callable[..., Any]:
    module, _, name = function.rpartition(".")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found if arguments is None else found(**arguments)


def _answer(out: IO[str], call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BaseException as error:  # a reward, or a package of its, may also try to end the process
        _write(out, {"error": f"{type(error).__name__}: {error}"})
        return None


def _write(out: IO[str], answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
