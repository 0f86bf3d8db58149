"""A sweep's directory, read: what a report is made from. It may be of a sweep that still runs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from subnetray.analysis.claims import claims
from subnetray.analysis.effects import DENSITY
from subnetray.analysis.pairs import label_pairs
from subnetray.analysis.results import Results
from subnetray.config import ConfigError, Factor, Grid
from subnetray.config.hints import misfit
from subnetray.files import read_whole
from subnetray.grid.design import expand
from subnetray.store import derived, results
from subnetray.store.columns import of_pairs, of_runs

_VERSIONS = (1, 2)  # of sweep.yaml


@dataclass(frozen=True)
class Sweep:
    """A sweep's directory, read, as in ``Sweep.open("outputs/origins")``: columns are those of docs/tables.md.

    ``runs`` has one row a run with a result; ``overlap`` one row a pair, or is empty while there is none. ``planned``:
    how many runs there are to be.
    """

    directory: Path
    grid: Grid
    planned: int
    runs: pd.DataFrame
    overlap: pd.DataFrame

    @classmethod
    def open(cls, directory: str | Path) -> Sweep:
        """Read the tables of a sweep, running or finished; ``python -m subnetray.report`` makes them again from runs.

        Raises ConfigError, one sentence, for a directory that is no sweep.
        """
        return read(Path(directory))

    @property
    def pairs(self) -> pd.DataFrame:
        """``overlap`` with factors and seeds of both runs (``a.…``, ``b.…``), and in what they differ."""
        return self.results.pairs

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row a claim, by its key: as in ``claims.json``, judged now."""
        return pd.DataFrame([claim.to_dict() for claim in claims(self.results)]).set_index("claim")

    @cached_property
    def results(self) -> Results:
        """All of it, as effects, claims and sections take it."""
        pairs = label_pairs(self.grid, self.runs, self.overlap)
        return Results(self.grid, self.runs, pairs, self.metrics, self.tensors)

    def metrics(self, run_id: str) -> list[dict[str, Any]]:
        """What a run wrote step by step; empty if its file is gone."""
        path = self.directory / "runs" / run_id / "metrics.jsonl"
        try:
            found = [json.loads(line) for line in read_whole(path).decode().splitlines()]
        except (OSError, ValueError, RecursionError):
            return []
        return found if all(isinstance(each, dict) for each in found) else []

    def tensors(self, run_id: str) -> list[dict[str, Any]]:
        """What a run says of each of its tensors; empty if its result does not."""
        return self._listed(run_id, "tensors")

    def early(self, run_id: str) -> list[dict[str, Any]]:
        """How well a run's scores at early steps found its final mask; empty if it kept none."""
        return self._listed(run_id, "early")

    def seconds(self, run_id: str) -> dict[str, float]:
        """Wall-clock of a run by phase; empty if that is not known any more."""
        return _object(self.directory / "runs" / run_id / results.TIME).get("seconds", {})

    def time(self) -> dict[str, Any]:
        """Return the times of the sweep's last execution; empty if they are not known."""
        return _object(self.directory / derived.TIME)

    def _listed(self, run_id: str, key: str) -> list[dict[str, Any]]:
        return self._result(run_id).get(key, [])

    def _result(self, run_id: str) -> dict[str, Any]:
        return _object(self.directory / "runs" / run_id / results.RESULT)


def entries(content: dict[str, Any], directory: Path) -> list[dict[str, Any]]:
    """The runs that ``sweep.yaml`` lists: run_id, seed and cell of each. Raises ConfigError for a damaged list."""
    listed = content.get("runs")
    whole = isinstance(listed, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("run_id"), str)
        and each["run_id"].isalnum()
        and isinstance(each.get("seed"), int)
        and isinstance(each.get("cell"), dict)
        for each in listed
    )
    if not whole:
        raise ConfigError(f"sweep: {directory / 'sweep.yaml'} lists no runs: the command that ran the sweep mends it")
    return list(listed or ())


def _object(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is none that can be read."""
    try:
        content = json.loads(read_whole(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read(directory: Path) -> Sweep:
    """Read a sweep's tables. Raises ConfigError, one sentence, for a directory that is no sweep."""
    content = sweep_file(directory)
    grid = grid_of(content, directory)
    # As in composing: what the command line sets holds in every cell, and the grid's own overrides come after it.
    grid = dataclasses.replace(grid, overrides=[*content.get("overrides", ()), *grid.overrides])
    columns = [column.name for column in of_runs(grid.factors, ())]
    runs = _table(directory / derived.RUNS, columns)
    if missing := [name for name in ("run_id", "seed", "status", DENSITY, *grid.factors) if name not in runs]:
        raise ConfigError(f"sweep: {directory / 'runs.parquet'} lacks the column {missing[0]}: run the sweep again")
    planned = content.get("runs") or [each for each in expand(grid) for _ in grid.seeds]
    known = [column.name for column in of_pairs()]
    overlap = _table(directory / derived.OVERLAP, known)
    # A table of an earlier version has fewer columns: what it does not say is unknown.
    overlap = overlap.reindex(columns=[*overlap, *(name for name in known if name not in overlap)])
    return Sweep(directory, grid, len(planned), runs, overlap)


def sweep_file(directory: Path) -> dict[str, Any]:
    """The content of ``sweep.yaml``. Raises ConfigError for a directory that is no sweep."""
    path = directory / "sweep.yaml"
    if not path.is_file():
        raise ConfigError(
            f"sweep must be the directory of a sweep, as in sweep=outputs/origins, and {path} does not exist"
        )
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError):  # of what its loader makes, too
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("grid"), dict):
        raise ConfigError(f"sweep: {path} is not readable as the description of a sweep")
    if content.get("version") not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        raise ConfigError(f"sweep: {path} is of version {content.get('version')!r}, and this subnetray reads {known}")
    return content


def grid_of(content: dict[str, Any], directory: Path) -> Grid:
    """The grid that ``sweep.yaml`` describes."""
    if (problem := misfit("grid", content["grid"], Grid)) is not None:
        raise ConfigError(f"sweep: {directory / 'sweep.yaml'} describes no grid: {problem}")
    values = dict(content["grid"])
    try:
        factors = {str(name): Factor(**factor) for name, factor in (values.pop("factors", None) or {}).items()}
        grid = Grid(**values, factors=factors)
    except TypeError as error:
        raise ConfigError(f"sweep: {directory / 'sweep.yaml'} describes no grid: {error}") from error
    return grid


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    try:
        return pq.read_table(path).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"sweep: {path} is damaged: the command that ran the sweep makes it again") from error
