"""Gathers results while runs go on: a thread beside Ray Tune's loop, fed by Tune's callbacks."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune import Callback

from subnetray.driver.gather import Gatherer
from subnetray.driver.live import LivePage
from subnetray.driver.progress import Progress, state
from subnetray.grid.plan import Plan, Run
from subnetray.job import RunSpec
from subnetray.job.launch import failure

_TICK_S = 2.0
_WRITE_EVERY_S = 20.0
# A run that has ended is looked at so much later, unless it was the last one that ran: the one that takes its place
# starts first, which beside this thread would take Tune 25 ms longer.
_LATER_S = 0.1


class Events(Callback):
    """What Ray Tune says of its trials, put into a queue; Tune's own loop does little more work than that.

    A failure is written at once: which run can start next depends on it.
    """

    def __init__(self, specs: Mapping[str, RunSpec]) -> None:
        self._specs = specs
        self.queue: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()

    def __getstate__(self) -> dict[str, Any]:
        # Tune saves its callbacks so that it could restore an experiment; a sweep resumes from its results instead.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.queue.put(("start", _run_id(trial)))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.queue.put(("end", _run_id(trial)))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.queue.put(("lost", _run_id(trial)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        text = str(trial.get_error() or "").strip().splitlines()
        self.failed(_run_id(trial), text[-1] if text else "its process died")

    def failed(self, run_id: str, reason: str) -> None:
        """A run has ended without a result of its own, or will not be started."""
        failure(self._specs[run_id], reason)
        self.queue.put(("end", run_id))


class Observer:
    """Turns what Tune says into rows, overlaps, W&B runs and lines of progress, in a thread of its own."""

    def __init__(
        self, plan: Plan, specs: Mapping[str, RunSpec], gatherer: Gatherer, progress: Progress, page: LivePage
    ) -> None:
        self._specs, self._gatherer, self._progress, self._page = specs, gatherer, progress, page
        self._labels = gatherer.labels
        self._runs = {run.run_id: run for run in (*plan.sources, *plan.runs)}
        self._running: dict[str, Run] = {}
        self._is_new = True  # whether there is anything that the page has not
        self.events = Events(specs)
        self._thread = threading.Thread(target=self._watch, name="observer")
        self._error: BaseException | None = None

    def __enter__(self) -> Observer:
        self._gatherer.found()
        if self._page.wanted:
            self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.events.queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            # Raised again in the driver when the sweep ends: the runs themselves are not to blame.
            self._error = error

    def _loop(self) -> None:
        written = time.monotonic()
        ended: list[Run] = []
        due = math.inf  # when these are looked at
        while True:
            try:
                event = self.events.queue.get(timeout=max(0.0, min(_TICK_S, due - time.monotonic())))
            except queue.Empty:
                if not ended:
                    self._tick()
            else:
                if event is None:
                    self._finish(ended)
                    return
                kind, run_id = event
                if kind == "start":
                    self._running[run_id] = self._runs[run_id]
                elif kind == "lost":
                    self._running.pop(run_id, None)
                    self._progress.lost(self._runs[run_id], self._labels[run_id], len(self._running))
                else:
                    self._running.pop(run_id, None)
                    ended.append(self._runs[run_id])
                    due = min(due, time.monotonic() + _LATER_S)
            if not self._running or time.monotonic() >= due:
                self._finish(ended)
                ended, due = [], math.inf
            if time.monotonic() - written > _WRITE_EVERY_S:
                self._write()
                written = time.monotonic()

    def _finish(self, ended: Sequence[Run]) -> None:
        for run in ended:
            self._is_new = True
            self._progress.finished(run, self._labels[run.run_id], self._gatherer.add(run), len(self._running))

    def _write(self) -> None:
        self._gatherer.write()
        if self._is_new:
            self._page.update()
            self._is_new = False

    def _tick(self) -> None:
        waiting = []
        for run_id, run in self._running.items():
            self._gatherer.follow(run)
            now = state(self._specs[run_id].directory, run.config.algorithm.steps)
            waiting.append(f"{self._labels[run_id]} seed={run.seed} ({now})")
        self._progress.tick(waiting, len(self._running))


def _run_id(trial: Any) -> str:
    return str(trial.config["spec"]["run_id"])
