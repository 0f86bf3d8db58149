"""Gather the runs that have ended: their rows, their pairs with others, their W&B runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from subnetray.driver.ledger import Ledger
from subnetray.driver.pairs import Finished, Pairs
from subnetray.driver.tracking import RunFiles, Tracker
from subnetray.grid.plan import Run
from subnetray.models import Model
from subnetray.store import derived, results


class Gatherer:
    """Gathers the runs of a sweep as they end, or as they were found. ``inits``: the directories of their models."""

    def __init__(self, ledger: Ledger, inits: Mapping[Model, Path], pairs: Pairs, tracker: Tracker) -> None:
        self._ledger, self._inits, self._pairs, self._tracker = ledger, inits, pairs, tracker
        self._cells = {run.run_id for run in ledger.plan.runs}
        self.labels = ledger.plan.labels

    def follow(self, run: Run) -> None:
        """Track the steps that a run has written so far."""
        self._tracker.follow(run, self.labels[run.run_id], self._files(run))

    def add(self, run: Run) -> dict[str, Any]:
        """Gather a run that has ended; its result."""
        result = self._ledger.result(run) or {"status": "failed", "error": "it ended without a result"}
        if result["status"] == "done" and run.run_id in self._cells:
            self._ledger.publish(run)
            self._pairs.add(self._finished(run, result))
        self._tracker.finish(run, self.labels[run.run_id], self._files(run), self._ledger.row(run, result))
        return result

    def found(self) -> None:
        """Gather all runs of the plan that are done here, sources among them."""
        for run in self._ledger.finished():
            self.add(run)

    def write(self) -> None:
        """Write ``runs.parquet`` and ``overlap.parquet`` as far as results are there."""
        self._ledger.write_runs()
        self._pairs.write(self._ledger.directory / derived.OVERLAP)

    def _files(self, run: Run) -> RunFiles:
        return RunFiles(self._ledger.run_directory(run), self._inits.get(run.config.model))

    def _finished(self, run: Run, result: Mapping[str, Any]) -> Finished:
        directory = self._ledger.run_directory(run)
        return Finished(
            run_id=run.run_id,
            mask=directory / results.MASK,
            delta=directory / results.DELTA,
            init=self._inits[run.config.model],
            identity=identity(result),
        )


def identity(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what decides a finished run's pairs: the hashes of its mask, its delta and its init."""
    files = result["files"]
    return files[results.MASK]["sha256"], files[results.DELTA]["sha256"], result["init_hash"]
