"""A sweep's directory, read: what a report is made from. It may be of a sweep that still runs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import yaml

from subnetray.analysis.effects import DENSITY
from subnetray.config import ConfigError, Factor, Grid
from subnetray.grid.design import RESERVED, expand

_VERSION = 1
_COUNTS = ("run_a", "run_b", "same_init", "n", "k1", "k2", "k12")
_OVERLAPS = (
    *("o1", "o2", "jaccard", "kappa"),
    *(f"{null}_{what}" for null in ("uniform", "tensor", "ulp") for what in ("expected", "excess", "odds_ratio")),
    *("margins_expected", "margins_excess", "sign_agreement", "cosine", "agreement_n"),
    *("distance_a", "distance_b", "equal_1e-05", "equal_0.0001"),
)


@dataclass(frozen=True)
class Sweep:
    """``runs`` has one row a run with a result; ``overlap`` one row a pair, or is empty while there is none."""

    directory: Path
    grid: Grid
    planned: int
    runs: pd.DataFrame
    overlap: pd.DataFrame

    def metrics(self, run_id: str) -> list[dict[str, Any]]:
        """What a run wrote step by step; empty if its file is gone."""
        path = self.directory / "runs" / run_id / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def tensors(self, run_id: str) -> list[dict[str, Any]]:
        """What a run says of each of its tensors; empty if its result does not."""
        return self._listed(run_id, "tensors")

    def early(self, run_id: str) -> list[dict[str, Any]]:
        """How well a run's scores at early steps found its final mask; empty if it kept none."""
        return self._listed(run_id, "early")

    def seconds(self, run_id: str) -> dict[str, float]:
        """Wall-clock of a run by phase; empty if its result does not say."""
        return self._result(run_id).get("seconds", {})

    def _listed(self, run_id: str, key: str) -> list[dict[str, Any]]:
        return self._result(run_id).get(key, [])

    def _result(self, run_id: str) -> dict[str, Any]:
        path = self.directory / "runs" / run_id / "result.json"
        return json.loads(path.read_text()) if path.is_file() else {}


def read(directory: Path) -> Sweep:
    """Read a sweep's tables. Raises ConfigError, one sentence, for a directory that is no sweep."""
    content = _sweep_file(directory)
    grid = _grid(content, directory)
    columns = [*("run_id", *grid.factors, "seed"), *sorted(RESERVED - {"run_id", "seed"}), DENSITY]
    runs = _table(directory / "runs.parquet", columns)
    if missing := [name for name in ("run_id", "seed", "status", DENSITY, *grid.factors) if name not in runs]:
        raise ConfigError(f"sweep: {directory / 'runs.parquet'} lacks the column {missing[0]}: run the sweep again")
    planned = content.get("runs") or [each for each in expand(grid) for _ in grid.seeds]
    overlap = _table(directory / "overlap.parquet", [*_COUNTS, *_OVERLAPS])
    # A table of an earlier version has fewer columns: what it does not say is unknown.
    overlap = overlap.reindex(columns=[*overlap, *(name for name in _OVERLAPS if name not in overlap)])
    return Sweep(directory, grid, len(planned), runs, overlap)


def _sweep_file(directory: Path) -> dict[str, Any]:
    path = directory / "sweep.yaml"
    if not path.is_file():
        raise ConfigError(
            f"sweep must be the directory of a sweep, as in sweep=outputs/origins, and {path} does not exist"
        )
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("grid"), dict):
        raise ConfigError(f"sweep: {path} is not readable as the description of a sweep")
    if content.get("version") != _VERSION:
        raise ConfigError(f"sweep: {path} is of version {content.get('version')}, and this subnetray reads {_VERSION}")
    return content


def _grid(content: dict[str, Any], directory: Path) -> Grid:
    values = dict(content["grid"])
    try:
        factors = {str(name): Factor(**factor) for name, factor in (values.pop("factors", None) or {}).items()}
        grid = Grid(**values, factors=factors)
    except TypeError as error:
        raise ConfigError(f"sweep: {directory / 'sweep.yaml'} describes no grid: {error}") from error
    # As in composing: what the command line sets holds in every cell, and the grid's own overrides come after it.
    return dataclasses.replace(grid, overrides=[*content.get("overrides", ()), *grid.overrides])


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    return pq.read_table(path).to_pandas() if path.is_file() else pd.DataFrame(columns=columns)
