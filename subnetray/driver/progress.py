"""What a person sees while a sweep runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from subnetray.grid.plan import Run
from subnetray.store import results
from subnetray.text import LINE, clean

Say = Callable[[str], None]

_QUIET_S = 20.0  # silence after which the state is said again


class Progress:
    """Says what is done, running, failed and waited for: one line a finished run, and one whenever it was quiet."""

    def __init__(self, total: int, cached: int, costs: dict[str, float], say: Say) -> None:
        self._total, self._done, self._failed = total, cached, 0
        self._costs, self._say = costs, say
        self._left, self._spent = sum(costs.values()), 0.0
        self._began = self._spoke = time.monotonic()

    def finished(self, run: Run, label: str, result: dict[str, Any], running: int) -> None:
        """A run has a result."""
        cost = self._costs.get(run.run_id, 0.0)
        self._left -= cost
        self._spent += cost
        if result["status"] == "done":
            self._done += 1
            scores = result["evaluation"]
            text = f"density {result['density']['bitwise']:.1%}"
            if scores["after"]:  # a task without a reward scores nothing
                before, after = (scores[when]["sampled"]["accuracy"] for when in ("before", "after"))
                text += f", accuracy {before:.1%} -> {after:.1%}"
        else:
            self._failed += 1
            text = f"failed: {clean(result['error'], LINE)}"
        self._speak(f"{label} seed={run.seed}: {text}", running)

    def lost(self, run: Run, label: str, running: int) -> None:
        """A run's process has died, and the run starts again in another."""
        self._speak(f"{label} seed={run.seed}: its process died, and it starts again", running)

    def tick(self, waiting_for: Sequence[str], running: int) -> None:
        """Nothing happened for a while: say what is waited for."""
        if time.monotonic() - self._spoke > _QUIET_S:
            self._speak("waiting for " + ("; ".join(waiting_for) or "Ray to start workers"), running)

    def _speak(self, text: str, running: int) -> None:
        self._spoke = time.monotonic()
        elapsed = self._spoke - self._began
        failed = f", {self._failed} failed" if self._failed else ""
        left = f", about {clock(elapsed * self._left / self._spent)} left" if self._spent > 0 and self._left > 0 else ""
        self._say(f"[{self._done}/{self._total}] {clock(elapsed)}, {running} running{failed}{left} | {text}")


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``; hours where there are some."""
    whole = round(max(0.0, seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def state(directory: Path, steps: int) -> str:
    """Say what the run in ``directory`` does now, as it has noted, or to which of its steps it has come."""
    words = clean(results.doing(directory), LINE)
    if words == results.TRAINS:
        return f"step {steps_done(directory / results.METRICS)} of {steps}"
    return words or "starts"


def steps_done(metrics: Path) -> int:
    """Lines of a run's metrics so far."""
    try:
        return metrics.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
