"""A reward with a time limit: computed in processes of its own, which are killed when it takes too long."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

from subnetray.tasks.base import Prompt, RewardError

_START_S = 300.0  # for importing what the reward needs, on a busy machine
_END_S = 5.0  # for a judge to end what its reward has started


class Judge:
    """Scores completions by a function given as a dotted path; its processes start at the first and end with this."""

    def __init__(
        self,
        key: str,
        function: str,
        arguments: dict[str, Any] | None,
        timeout_s: float,
        late: float | None = None,
    ) -> None:
        """``key`` is what errors name; ``arguments``, unless None, make the reward: ``function(**arguments)``.

        ``late`` is the reward of a completion that takes longer than the limit; None makes that an error.
        """
        self._key, self._function, self._arguments, self._timeout_s = key, function, arguments, timeout_s
        self._late = late
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[Any, Any] | None = None

    def start(self) -> None:
        """Start the processes, if there are none; raises :class:`RewardError` if the function cannot be had."""
        if self._process is not None:
            return
        # The path that this process imports from, so that a function is found in the working directory or by a test.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path)}
        theirs, ours = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "subnetray.tasks.judge", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                pass_fds=[theirs],
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(self._process.stdin.fileno(), False)  # type: ignore[union-attr]
        self._end = weakref.finalize(self, _end, self._process, ours)
        self._ask({"function": self._function, "arguments": self._arguments}, _START_S, "did not load")

    def score(self, prompt: Prompt, completion: str, reference: Any) -> float:
        """The reward; raises :class:`RewardError` where it raises, is not finite or takes longer than the limit."""
        self.start()
        asked = [prompt if isinstance(prompt, str) else list(prompt), completion, reference]
        try:
            value = self._ask(asked, self._timeout_s, f"did not end on the completion {_short(completion)}")
        except _LateError:
            if self._late is None:
                raise
            return self._late
        if isinstance(value, str):
            raise RewardError(f"{self._key} gave {value}, which is no number, for the completion {_short(completion)}")
        if not math.isfinite(value):
            raise RewardError(f"{self._key} gave {value} for the completion {_short(completion)}")
        return value

    def _ask(self, question: Any, seconds: float, failure: str) -> float | str:
        """The number that the judge answers with; a text for a value that is none."""
        process = self._process
        assert process is not None
        try:
            line = _exchange(process, json.dumps(question).encode() + b"\n", time.monotonic() + seconds)
        except TimeoutError:
            self._stop()
            raise _LateError(f"{self._key} {failure} within {seconds:g} s") from None
        if not line.endswith(b"\n"):
            self._stop()
            raise RewardError(f"{self._key} {failure} and ended its process")
        answer = json.loads(line)
        if "error" in answer:
            raise RewardError(f"{self._key} raised {answer['error']}")
        return answer["reward"] if "reward" in answer else str(answer["no_reward"])

    def _stop(self) -> None:
        self._process = None
        if self._end is not None:
            self._end()


class _LateError(RewardError):
    """A reward that did not end in time."""


def _exchange(process: subprocess.Popen[bytes], question: bytes, end: float) -> bytes:
    """Write a line and read one, both before ``end``, or raise TimeoutError; not a whole line where a process ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    left, answer = memoryview(question), b""
    while not answer.endswith(b"\n"):
        readable, writable, _ = select.select(
            [process.stdout], [process.stdin] if left else [], [], max(0.0, end - time.monotonic())
        )
        if not readable and not writable:
            raise TimeoutError
        try:
            if writable:
                left = left[os.write(process.stdin.fileno(), left) :]
        except BrokenPipeError:
            return b""
        if readable:
            part = os.read(process.stdout.fileno(), 1 << 16)
            if not part:
                return b""
            answer += part
    return answer


def _end(process: subprocess.Popen[bytes], alive: int) -> None:
    """Let the judge end all that it has started, which it does when ``alive`` closes; kill its group if it does not."""
    os.close(alive)
    end = time.monotonic() + _END_S
    with contextlib.suppress(ChildProcessError):
        # Not reaped, so that its number stays that of its group.
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < end:
            time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
