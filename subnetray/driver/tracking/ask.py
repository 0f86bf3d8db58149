"""Ask W&B's server for something that a command waits for: in a process of its own, no longer than is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from subnetray.driver.tracking.backends import plain
from subnetray.driver.tracking.environment import environment

# What a process that asks sets up: W&B's own patience is hours.
PATIENCE: dict[str, Any] = {
    "silent": True,
    "x_graphql_retry_max": 2,
    "x_graphql_retry_wait_min_seconds": 0.5,
    "x_graphql_retry_wait_max_seconds": 4.0,
    "x_graphql_timeout_seconds": 20,
}


@dataclass(frozen=True)
class Answered:
    """A process answered: all of its objects as one; whether its time was up; and what else it printed."""

    found: dict[str, Any]
    deadline_s: float | None = None
    log: str = ""

    @property
    def reason(self) -> str:
        """Say why there is no answer, in our words where a status says it; never with a key."""
        error = str(self.found.get("error", ""))
        statuses = re.findall(r"\b(401|403|429|5\d\d)\b", error)
        if "401" in statuses or "403" in statuses:
            return f"refuses the key ({statuses[-1]})"
        if "429" in statuses:
            return "limits how often it may be asked (429)"
        if statuses:
            return f"fails ({statuses[-1]})"
        if self.deadline_s is not None:
            return f"did not answer within {self.deadline_s:.0f} s"
        return f"could not be asked ({plain(error or self.log)})"


def ask(module: str, message: str, deadline_s: float) -> Answered:
    """Run ``module`` with a line of input, and return the JSON objects that it printed, a line each, as one."""
    with tempfile.TemporaryDirectory(prefix="subnetray-wandb-") as scratch:
        places = {f"WANDB_{kind}_DIR": f"{scratch}/{kind.lower()}" for kind in ("CACHE", "DATA")}
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=places | environment() | {"WANDB_SILENT": "true"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        late = None
        try:
            out, log = process.communicate(message + "\n", timeout=deadline_s)
        except subprocess.TimeoutExpired:
            late = deadline_s
            _end(process)
            out, log = process.communicate()
        finally:
            _end(process)
    found: dict[str, Any] = {}
    for line in out.splitlines():
        with suppress(ValueError):
            found |= json.loads(line)
    return Answered(found, late, log)


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and W&B's own service, which is in a session of its own."""
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
