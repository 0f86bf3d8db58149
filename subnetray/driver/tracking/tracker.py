"""Logs what the runs of a sweep write, by reading their files: a run does not know of it, and cannot fail by it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subnetray.config import Tracking
from subnetray.driver.tracking.backends import Backend, Disabled, Say, backend, plain
from subnetray.driver.tracking.checkout import Checkout
from subnetray.driver.tracking.lineage import RunFiles
from subnetray.driver.tracking.notes import UNFINISHED
from subnetray.driver.tracking.patience import Patience
from subnetray.driver.tracking.records import Sweep, of_run, of_sweep, sweep_id

if TYPE_CHECKING:  # W&B's process imports this, and plans nothing
    from subnetray.grid.plan import Plan, Run
    from subnetray.reporting.findings import Findings


class Tracker:
    """Logs to what ``tracking.mode`` names. Nothing that happens to it ends a sweep: it is said, once.

    ``directory`` is the sweep's: its name is the sweep's name (the grid's, unless ``out`` names another), the group of
    its runs, and in its ``wandb/`` lies what is offline.
    """

    def __init__(self, tracking: Tracking, plan: Plan, directory: Path, say: Say) -> None:
        self._sweep, self._say = Sweep(directory.name or plan.grid.name, plan.grid), say
        self._folder = directory / "wandb"
        self._failed = False
        self._backend: Backend = Disabled()
        if tracking.mode == "disabled":
            return
        self._remove_unfinished()
        checkout = Checkout(directory) if tracking.git else None
        self._backend = backend(tracking, self._folder, say, checkout)

    def follow(self, run: Run, label: str, files: RunFiles) -> None:
        """Log the steps that a run which goes on has written since the last call."""
        self._guarded(lambda: self._backend.follow(of_run(self._sweep, run, label, files)))

    def finish(self, run: Run, label: str, files: RunFiles, row: Mapping[str, Any]) -> None:
        """Log what is not logged yet of a run that has ended, its row of ``runs.parquet`` as summary."""
        self._guarded(lambda: self._backend.finish(of_run(self._sweep, run, label, files, row)))

    def close(self, findings: Callable[[], Findings]) -> str | None:
        """Log the sweep itself, what ``findings`` returns, and wait for all that is not logged yet.

        Returns a line that says where to see it, or how it gets there; None where that was said already.
        """
        if not isinstance(self._backend, Disabled):
            self._guarded(lambda: self._backend.finish(of_sweep(self._sweep, findings())))
        self._guarded(lambda: self._backend.close(Patience()))
        self._remove_unfinished()
        return self._backend.where(sweep_id(self._sweep.name))

    def _remove_unfinished(self) -> None:
        shutil.rmtree(self._folder / UNFINISHED, ignore_errors=True)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._say(f"W&B: not everything is logged ({plain(str(error))}); results are not affected")
