"""Make what W&B gets of a run, as plain values: they go to its process as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subnetray.driver.tracking.lineage import Lineage, RunFiles, lineage
from subnetray.store.columns import of_runs

if TYPE_CHECKING:  # W&B's process imports this, and plans nothing
    from subnetray.config import Grid
    from subnetray.grid.plan import Run
    from subnetray.reporting.findings import Findings

_NAME_LENGTH = 128  # of a group or a display name at most
_TAG_LENGTH = 64


@dataclass(frozen=True)
class Sweep:
    """The records of one sweep share this: its name, and its grid."""

    name: str
    grid: Grid

    @property
    def group(self) -> str:
        """The W&B group of its runs."""
        return self.name[:_NAME_LENGTH]


@dataclass(frozen=True)
class Record:
    """One W&B run. Its steps are read from ``metrics`` (and ``time.jsonl`` beside it) by W&B's own process."""

    id: str
    name: str
    group: str
    job_type: str
    config: Mapping[str, Any]
    tags: Sequence[str] = ()
    notes: str = ""
    metrics: Path | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)  # images and pages, by key
    lineage: Lineage | None = None
    exit_code: int = 0

    def message(self) -> dict[str, Any]:
        """Plain values, without the row of a run that has not ended."""
        return {
            **{"id": self.id, "name": self.name, "group": self.group, "job_type": self.job_type},
            **{"tags": list(self.tags), "notes": self.notes},
            **{"config": self.config, "summary": self.summary, "tables": self.tables, "exit_code": self.exit_code},
            "files": {key: str(path) for key, path in self.files.items()},
            "metrics": None if self.metrics is None else str(self.metrics),
            "lineage": None if self.lineage is None else self.lineage.message(),
        }

    def digests(self) -> dict[str, str]:
        """Hashes of the steps, and of all else: what is logged already has the same."""
        # Where files lie says nothing: a sweep may be moved.
        placeless = {
            "metrics": None,
            "files": {key: _digest(path) for key, path in self.files.items()},
            "lineage": None if self.lineage is None else self.lineage.content(),
        }
        facts = dumps(self.message() | placeless, sort_keys=True).encode()
        return {"steps": _digest(self.metrics), "facts": hashlib.sha256(facts).hexdigest()[:16]}


def _digest(path: Path | None) -> str:
    """Hash a file; one that is not there is like an empty one."""
    try:
        content = b"" if path is None else path.read_bytes()
    except OSError:
        content = b""
    return hashlib.sha256(content).hexdigest()[:16]


def dumps(value: Any, sort_keys: bool = False) -> str:
    """JSON of plain values in one line; what JSON has no word for becomes a text."""
    return json.dumps(value, default=str, sort_keys=sort_keys)


def of_run(sweep: Sweep, run: Run, label: str, files: RunFiles, row: Mapping[str, Any] | None = None) -> Record:
    """The record of a run of the sweep, with its row once it has ended. Its id is the run's own.

    Neither depends on what else the sweep runs, so that a sweep that grows keeps its W&B runs.
    """
    config = run.config
    keys = {column.name: column.key for column in of_runs(run.cell, config.measurement.tolerances)}
    done = row is not None and row["status"] == "done"
    return Record(
        id=run.run_id,
        name=f"{label} seed={run.seed}"[:_NAME_LENGTH],
        group=sweep.group,
        job_type="run",
        config={
            **{"run_id": run.run_id, "sweep": sweep.name, "grid": sweep.grid.name, "cell": label},
            **{f"factor/{factor}": level for factor, level in run.cell.items()},
            **config.to_dict(),
        },
        tags=_tags(sweep.grid.name, config.algorithm.name, config.model.name),
        notes=_notes(sweep.grid, run, label),
        metrics=files.metrics,
        summary={keys.get(name, name): value for name, value in (row or {}).items() if value is not None},
        lineage=lineage(run, files, row) if done and row is not None else None,
        exit_code=0 if row is None or done else 1,
    )


def of_sweep(sweep: Sweep, found: Findings) -> Record:
    """The record of the sweep itself. Its id depends on the sweep's name alone."""
    grid = sweep.grid
    return Record(
        id=sweep_id(sweep.name),
        name=sweep.group,
        group=sweep.group,
        job_type="sweep",
        config={"sweep": sweep.name, "grid": dataclasses.asdict(grid)},
        tags=_tags(grid.name),
        notes=grid.about,
        summary=found.summary,
        tables={key: _table(rows) for key, rows in found.tables.items() if rows},
        files={**found.images, **found.pages},
    )


def _tags(*words: str) -> list[str]:
    return list(dict.fromkeys(word[:_TAG_LENGTH] for word in words if word))


def _notes(grid: Grid, run: Run, label: str) -> str:
    """The cell in words."""
    config = run.config
    lines = [f"{label}, seed {run.seed}: {config.algorithm.name} on {config.model.name}, {config.task.name}."]
    for name, level in run.cell.items():
        factor = grid.factors[name]
        baseline = " (the baseline)" if level == factor.baseline else ""
        lines.append(f"- {name} = {level}{baseline}" + (f": {factor.about}" if factor.about else ""))
    return "\n".join(lines)


def sweep_id(sweep: str) -> str:
    """``sweep-NAME``, with a hash where W&B takes no id of these characters, or of this length."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", sweep)[:40]
    return f"sweep-{plain}" if plain == sweep else f"sweep-{plain}-{hashlib.sha256(sweep.encode()).hexdigest()[:8]}"


def _table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
