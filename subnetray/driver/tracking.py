"""Weights & Biases: one run a run, grouped by sweep, and one for the sweep with its tables."""

from __future__ import annotations

import hashlib
import json
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlparse

from subnetray.config import ConfigError, Tracking
from subnetray.files import write_atomic
from subnetray.grid.plan import Plan, Run

_TABLE_ROWS = 5000  # of the overlap table at most: what W&B shows in a browser


def check(tracking: Tracking) -> None:
    """Raise ConfigError if ``online`` has no account to log to."""
    if tracking.mode != "online" or os.environ.get("WANDB_API_KEY"):
        return
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        known = netrc.netrc().authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        known = False
    if not known:
        raise ConfigError(
            "tracking=online needs an account: run `wandb login` or set WANDB_API_KEY, or use tracking=offline"
        )


class Tracker:
    """Logs what the runs write. It reads their files, so that a run does not know of it and cannot fail by it.

    ``directory`` is the sweep's; offline files lie in its ``wandb/``. A run that was logged to its end is noted there
    and is not logged again when the sweep is resumed.
    """

    def __init__(self, tracking: Tracking, plan: Plan, directory: Path) -> None:
        self._tracking, self._directory, self._name = tracking, directory, plan.grid.name
        runs = sorted({run.run_id for run in plan.runs})
        self._id = hashlib.sha256("".join(runs).encode()).hexdigest()[:8]
        self._open: dict[str, Any] = {}
        self._offsets: dict[str, int] = {}
        self._noted = directory / "wandb" / "logged.json"
        self._logged: set[str] = set(json.loads(self._noted.read_text())) if self._noted.is_file() else set()

    @property
    def enabled(self) -> bool:
        return self._tracking.mode != "disabled"

    def logged(self, run: Run) -> bool:
        """Whether there is nothing left to log of the run."""
        return not self.enabled or run.run_id in self._logged

    def follow(self, run: Run, label: str, metrics: Path) -> None:
        """Log the steps that the run has written since the last call."""
        if self.logged(run) or not metrics.is_file():
            return
        target = self._open.get(run.run_id)
        if target is None:
            target = self._open[run.run_id] = self._init(
                f"{self._id}-{run.run_id}",
                f"{label} seed={run.seed}",
                job_type="run",
                config={
                    "run_id": run.run_id,
                    **{f"factor/{k}": v for k, v in run.cell.items()},
                    **run.config.to_dict(),
                },
            )
        content = metrics.read_bytes()
        known = self._offsets.get(run.run_id, 0)
        complete = content[: content.rfind(b"\n") + 1]
        # A run that was started again writes its file anew, with the same values: only what is beyond is new.
        for line in complete[known:].splitlines():
            values = json.loads(line)
            target.log(values, step=values["step"])
        self._offsets[run.run_id] = max(known, len(complete))

    def finish(self, run: Run, label: str, metrics: Path, row: Mapping[str, Any]) -> None:
        """Log the rest of a finished run, its row of ``runs.parquet`` as summary, and end it."""
        if self.logged(run):
            return
        self.follow(run, label, metrics)
        target = self._open.pop(run.run_id, None)
        if target is None:  # it failed before its first step
            return
        target.summary.update({key: value for key, value in row.items() if value is not None})
        target.finish(exit_code=0 if row["status"] == "done" else 1)
        if row["status"] == "done":
            self._logged.add(run.run_id)
            write_atomic(self._noted, json.dumps(sorted(self._logged)))

    def close(self, tables: Mapping[str, Sequence[Mapping[str, Any]]], summary: Mapping[str, Any]) -> None:
        """End what is still open, and log the sweep itself: its tables and figures of merit."""
        if not self.enabled:
            return
        import wandb

        for target in self._open.values():
            target.finish(exit_code=1)
        self._open.clear()
        target = self._init(self._id, self._name, job_type="sweep", config={"sweep": self._name})
        for name, rows in tables.items():
            if rows:
                columns = list(dict.fromkeys(key for row in rows for key in row))
                data = [[row.get(column) for column in columns] for row in rows[:_TABLE_ROWS]]
                target.log({name: wandb.Table(columns=columns, data=data)})
        target.summary.update(dict(summary))
        target.finish()

    def _init(self, identity: str, name: str, job_type: str, config: Mapping[str, Any]) -> Any:
        import wandb

        self._directory.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self._tracking.project,
            entity=self._tracking.entity,
            mode=cast(Literal["online", "offline"], self._tracking.mode),
            dir=str(self._directory),
            id=identity,
            name=name,
            group=f"{self._name}-{self._id}",
            job_type=job_type,
            config=dict(config),
            resume="allow" if self._tracking.mode == "online" else None,
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_disable_stats=True,
                disable_git=True,
                # The installed packages are the same for all runs, and looking for them takes 0.1 s.
                x_save_requirements=job_type == "sweep",
            ),
        )
