"""Gather what a tracker shows of a sweep: sparsity and overlap by factor and level, tables, figures, the report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from subnetray.analysis.effects import cell, cells, origins
from subnetray.analysis.intervals import Estimate, pair_interval
from subnetray.analysis.pairs import SEED, around_baseline
from subnetray.config import Grid
from subnetray.grid.design import baseline, describe
from subnetray.nulls import NULLS
from subnetray.reporting.findings import Findings, Row
from subnetray.reporting.source import Sweep, read
from subnetray.store import derived

_EXPECTED = "_expected"
_SHARES = ("o1", "o2", "jaccard", "kappa")
_MOST_ROWS = 5000  # of a table: what a browser shows


def findings(directory: Path) -> Findings:
    """Read what the sweep in ``directory`` found from its tables, claims and figures, as far as they are there."""
    sweep = read(directory)
    grid, runs = sweep.grid, sweep.runs
    pairs = _with_excess(sweep.results.pairs)
    done = runs["status"] == "done"
    claims = _claims(directory)
    labels = dict(zip(runs["run_id"], _labels(grid, runs), strict=True))
    return Findings(
        summary={
            **{"runs/done": int(done.sum()), "runs/failed": int((~done).sum()), "runs/planned": sweep.planned},
            **{"pairs/all": len(pairs), "pairs/in_table": min(len(pairs), _MOST_ROWS)},
            **dict(_sparsity(sweep)),
            **dict(_overlap(grid, pairs)),
            **{f"claims/{claim['claim']}": claim["verdict"] for claim in claims},
        },
        tables={
            "tables/runs": _rows(runs.assign(label=runs["run_id"].map(labels))),
            "tables/cells": _cells(sweep),
            "tables/pairs": _pairs(labels, pairs),
            "tables/claims": claims,
        },
        images={f"figures/{path.stem}": path for path in sorted((directory / "figures").glob("*.png"))},
        pages={"report": page} if (page := directory / derived.PAGE).is_file() else {},
    )


def _name(level: str) -> str:
    """A level in a key, where W&B takes a point for one more level of nesting."""
    return level.replace(".", "_")


def _numbers(key: str, estimate: Estimate) -> Iterator[tuple[str, float]]:
    """Mean, ends of the interval and units, each only if it is known."""
    if not estimate.n:
        return
    yield f"{key}/n", estimate.n
    for name, value in (("mean", estimate.mean), ("low", estimate.low), ("high", estimate.high)):
        if math.isfinite(value):
            yield f"{key}/{name}", value


def _sparsity(sweep: Sweep) -> Iterator[tuple[str, float]]:
    """Shares of weights that did not change, over the seeds of each level, the other factors at their baseline."""
    yield from _unchanged("sparsity/baseline", cell(sweep.results, {}).density)
    for row in origins(sweep.results):
        yield from _unchanged(f"sparsity/{row.factor}/{_name(row.level)}", row.cell.density)


def _unchanged(key: str, density: Estimate) -> Iterator[tuple[str, float]]:
    turned = Estimate(1 - density.mean, 1 - density.high, 1 - density.low, density.n, density.level)
    return _numbers(key, turned)


def _with_excess(pairs: pd.DataFrame) -> pd.DataFrame:
    """``pairs`` with what o1 exceeds each null's expectation by, a share, as ``excess_NULL``."""
    k1 = pairs["k1"].where(pairs["k1"] > 0).astype(float)
    return pairs.assign(
        **{f"excess_{null}": (pairs["k12"] - pairs[f"{null}{_EXPECTED}"].astype(float)) / k1 for null in NULLS}
    )


def _overlap(grid: Grid, pairs: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Overlaps of pairs around the baseline that differ in the seed, in one factor, or in both; by the other level."""
    yield from _group("overlap/seed", around_baseline(grid, pairs, SEED))
    for factor, content in grid.factors.items():
        for suffix, differs in (("", (factor,)), ("+seed", (factor, SEED))):
            found = around_baseline(grid, pairs, *differs)
            other = found[f"a.{factor}"].where(found[f"a.{factor}"] != content.baseline, found[f"b.{factor}"])
            for level in content.levels:
                yield from _group(f"overlap/{factor}{suffix}/{_name(level)}", found[other == level])


def _group(key: str, pairs: pd.DataFrame) -> Iterator[tuple[str, float]]:
    units = list(zip(pairs["a.seed"].tolist(), pairs["b.seed"].tolist(), strict=True))
    for column in (*_SHARES, *(f"excess_{null}" for null in NULLS)):
        yield from _numbers(f"{key}/{column}", pair_interval(pairs[column].astype(float).tolist(), units))


def _labels(grid: Grid, runs: pd.DataFrame) -> list[str]:
    return [describe(grid, {name: str(row[name]) for name in grid.factors}) for row in runs.to_dict("records")]


def _cells(sweep: Sweep) -> list[Row]:
    """One row a cell: its levels, and what its runs say with intervals over seeds."""
    rows: list[Row] = []
    for varied in cells(sweep.grid):
        levels = baseline(sweep.grid) | varied
        found = cell(sweep.results, varied)
        estimates = {
            "density": found.density,
            "density_1e-05": found.tolerant_density,
            "accuracy_greedy_change": found.greedy_change,
            "accuracy_sampled_change": found.sampled_change,
            "data_nll": found.nll,
        }
        rows.append(
            {
                **{"cell": describe(sweep.grid, levels), **levels, "runs": found.n},
                **{
                    f"{name}_{part}": _known(getattr(estimate, part))
                    for name, estimate in estimates.items()
                    for part in ("mean", "low", "high")
                },
            }
        )
    return rows


def _pairs(labels: Mapping[str, str], pairs: pd.DataFrame) -> list[Row]:
    """One row a pair, with what its runs are and differ in; first those that differ in least."""
    if pairs.empty:
        return []
    least = pairs.iloc[pairs["differs"].str.count(r"\+").argsort(kind="stable").to_numpy()].head(_MOST_ROWS)
    return _rows(least.assign(**{f"label_{side}": least[f"run_{side}"].map(labels) for side in "ab"}))


def _rows(table: pd.DataFrame) -> list[Row]:
    """The rows as plain values; NaN is None."""
    records = table.head(_MOST_ROWS).to_dict("records")
    return [{str(name): _known(value) for name, value in row.items()} for row in records]


def _known(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _claims(directory: Path) -> list[dict[str, Any]]:
    """The entries of ``claims.json``, an interval as two columns; none where it cannot be read."""
    try:
        listed = json.loads((directory / derived.CLAIMS).read_bytes())
    except (OSError, ValueError):
        return []
    rows = []
    for claim in listed:
        low, high = claim.pop("interval", None) or (None, None)
        rows.append({**claim, "low": low, "high": high, "runs": " ".join(claim.get("runs", ()))})
    return rows
