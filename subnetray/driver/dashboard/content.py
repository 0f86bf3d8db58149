"""Gather what a dashboard says of a sweep, as plain values: they go to W&B's process as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from subnetray.analysis import roles
from subnetray.driver.tracking.records import sweep_id
from subnetray.reporting.source import read
from subnetray.store import derived
from subnetray.store.columns import of_runs
from subnetray.store.metrics import METRICS

# What is looked at first: charts of all else are there too, closed.
_OPEN = ("rollout", "update")
_RESULTS = ("final/density_bitwise", "final/density_1e-05", "eval/accuracy_greedy_after", "eval/kl_to_init")


@dataclass(frozen=True)
class Factor:
    """A factor, its meaning and its levels."""

    name: str
    about: str
    levels: list[str]


@dataclass(frozen=True)
class Section:
    """Keys of metrics that are drawn over optimizer steps."""

    name: str
    keys: list[str]
    is_open: bool


@dataclass(frozen=True)
class Content:
    """All of it. ``groups``: the factors that runs are grouped by; ``results``: numbers of a run, the main one first.

    ``claims`` are entries of ``claims.json``, ``figures`` keys of pictures of the sweep's own run, ``run``, which is in
    the W&B group ``group`` with all others.
    """

    title: str
    about: str
    run: str
    group: str
    project: str
    entity: str | None
    factors: list[Factor]
    groups: list[str]
    sections: list[Section]
    results: list[str]
    claims: list[dict[str, Any]]
    figures: list[str]

    def message(self) -> str:
        """JSON in one line."""
        return json.dumps(asdict(self))


def content(directory: Path, project: str, entity: str | None) -> Content:
    """Gather what the sweep in ``directory`` says. Raises ConfigError for a directory that is no sweep."""
    sweep = read(directory)
    grid = sweep.grid
    written = {name for run_id in sweep.runs["run_id"].head(200) for line in sweep.metrics(run_id)[:1] for name in line}
    sections: dict[str, list[str]] = {}
    for metric in METRICS:
        if metric.name in written or metric.section == "time":
            sections.setdefault(metric.section, []).append(metric.key)
    known = {column.key for column in of_runs(grid.factors, (1e-5,))}
    chosen = [roles.factor_with(grid, role) for role in (roles.METHOD, roles.LEARNING_RATE)]
    groups = [name for name in chosen if name is not None] or list(grid.factors)[:1]
    return Content(
        title=f"Sweep {directory.name}",
        about=grid.about,
        run=sweep_id(directory.name),
        group=directory.name[:128],
        project=project,
        entity=entity,
        factors=[Factor(name, each.about, list(each.levels)) for name, each in grid.factors.items()],
        groups=groups,
        sections=[Section(name, keys, name in _OPEN) for name, keys in sections.items()],
        results=[key for key in _RESULTS if key in known],
        claims=_claims(directory),
        figures=[f"figures/{path.stem}" for path in sorted((directory / "figures").glob("*.png"))],
    )


def _claims(directory: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads((directory / derived.CLAIMS).read_bytes())
    except (OSError, ValueError):
        return []
    keys = ("claim", "statement", "test", "verdict", "estimate", "interval", "unit", "level")
    return [{key: claim.get(key) for key in keys} for claim in found]
