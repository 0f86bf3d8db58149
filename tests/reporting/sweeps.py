"""A made-up sweep's directory, as a driver leaves it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import yaml

from subnetray.config import Grid
from subnetray.reporting.report import analyse, everything, write_report
from subnetray.reporting.source import read
from subnetray.reporting.writers.markdown import to_markdown


def write_sweep(directory: Path, grid: Grid, runs: pd.DataFrame | None, overlap: pd.DataFrame | None = None) -> Path:
    """Write ``sweep.yaml``, the tables that are given, and a run's density along its 10 steps (linear in the step).

    All that changed in a run is in its one layer.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = {"version": 1, "grid": dataclasses.asdict(grid), "overrides": []}
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    if overlap is not None:
        overlap.to_parquet(directory / "overlap.parquet")
    if runs is None:
        return directory
    runs.to_parquet(directory / "runs.parquet")
    for run_id, density, status in runs[["run_id", "density_bitwise", "status"]].itertuples(index=False):
        if status == "done":
            path = directory / "runs" / run_id / "metrics.jsonl"
            path.parent.mkdir(parents=True)
            lines = [
                {
                    **{"step": step, "density": density * step / 10, "grad_norm": step / 4},
                    **{"density_step": density / 10, "density_ever": density},
                }
                for step in range(1, 11)
            ]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            tensors = [
                {"layer": None, "module": "embedding", "n": 1000, "changed_bitwise": 0},
                {"layer": 0, "module": "q", "n": 1000, "changed_bitwise": round(1000 * density)},
            ]
            (path.parent / "result.json").write_text(json.dumps({"tensors": tensors}))
    return directory


def report_text(directory: Path) -> str:
    """The report of a sweep, just written, with all of its sections, as Markdown."""
    write_report(directory)
    return all_sections(directory)


def all_sections(directory: Path) -> str:
    """What the page of a sweep says, as Markdown, where a test can read it."""
    return to_markdown(everything(analyse(read(directory))))


def table_rows(markdown: str, *starts: str) -> list[list[str]]:
    """The cells of the rows that start with the cells ``starts``."""
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in markdown.splitlines() if line[:1] == "|"
    ]
    return [row for row in rows if row[: len(starts)] == list(starts)]
