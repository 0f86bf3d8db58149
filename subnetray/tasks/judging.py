"""A reward with a time limit: computed in a process of its own, which is killed when it takes too long."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

from subnetray.tasks.base import Prompt, RewardError

_START_S = 300.0  # for importing what the reward needs, on a busy machine


class Judge:
    """Scores completions by a function given as a dotted path; its process starts at the first and ends with this."""

    def __init__(self, key: str, function: str, arguments: dict[str, Any] | None, timeout_s: float) -> None:
        """``key`` is what errors name; ``arguments``, unless None, make the reward: ``function(**arguments)``."""
        self._key, self._function, self._arguments, self._timeout_s = key, function, arguments, timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, if there is none; raises :class:`RewardError` if the function cannot be had."""
        if self._process is not None:
            return
        # The path that this process imports from, so that a function is found in the working directory or by a test.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "subnetray.tasks.judge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        weakref.finalize(self, _end, self._process)
        self._ask({"function": self._function, "arguments": self._arguments}, _START_S, "did not load")

    def score(self, prompt: Prompt, completion: str, reference: Any) -> float:
        """The reward; raises :class:`RewardError` where it raises, is not finite or takes longer than the limit."""
        self.start()
        asked = [prompt if isinstance(prompt, str) else list(prompt), completion, reference]
        value = self._ask(asked, self._timeout_s, f"did not end on the completion {_short(completion)}")
        if not math.isfinite(value):
            raise RewardError(f"{self._key} gave {value} for the completion {_short(completion)}")
        return value

    def _ask(self, question: Any, seconds: float, failure: str) -> float:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            # An answer is one line, written at once: once there is something to read, all of it follows.
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            line = process.stdout.readline() if ready else None
        except BrokenPipeError:
            line = b""
        if not line:
            self._process = None
            _end(process)
            reason = f"within {seconds:g} s" if line is None else "and ended its process"
            raise RewardError(f"{self._key} {failure} {reason}")
        answer = json.loads(line)
        if "error" in answer:
            raise RewardError(f"{self._key} raised {answer['error']}")
        return float(answer["reward"])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
