"""Overlap of cells as a picture; its numbers are held with the chart of them."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np

from subnetray.reporting.pictures.cell_matrix import Rows, cell_matrix, draw
from subnetray.reporting.source import read
from tests.analysis.tables import make_grid, make_overlap, make_runs
from tests.reporting.sweeps import write_sweep

GRID = make_grid()


def _row(row: str, column: str, observed: float | None, excess: float | None) -> dict[str, object]:
    return {"row": row, "column": column, "observed": observed, "expected": 0.5, "excess": excess, "pairs": 3}


def test_the_picture_depends_on_what_is_shown_and_on_nothing_else(tmp_path: Path) -> None:
    rows: Rows = [_row(a, b, 0.6, -0.25 if a == b else 0.1) for a in ("$a", "b") for b in ("$a", "b")]
    other = [{**row, "observed": 0.3} if row["row"] == "b" else row for row in rows]
    # Nothing is known of a pair of empty masks, and nothing needs to be of all.
    empty = [_row("a", "a", None, None)]
    for name, shown in (("one", rows), ("again", rows), ("other", other), ("empty", empty)):
        draw(tmp_path / f"{name}.png", shown)
    contents = {path.stem: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert contents["one"] == contents["again"] != contents["other"]
    assert matplotlib.image.imread(tmp_path / "empty.png").ndim == 3


def test_a_cell_without_pairs_is_left_white(tmp_path: Path) -> None:
    rows: Rows = [_row("a", "a", 1.0, 0.5), _row("b", "b", 1.0, 0.5)]
    draw(tmp_path / "some.png", rows)
    draw(tmp_path / "all.png", [*rows, _row("a", "b", 1.0, 0.5), _row("b", "a", 1.0, 0.5)])
    white = {
        name: np.isclose(matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3].min(axis=-1), 1.0).mean()
        for name in ("some", "all")
    }
    assert white["some"] > white["all"] + 0.1


def test_without_pairs_there_is_none(tmp_path: Path) -> None:
    runs = make_runs(GRID, lambda cell, seed: 0.2)
    sweep = read(write_sweep(tmp_path / "a", GRID, runs))
    assert cell_matrix(sweep, make_overlap(runs.head(0), lambda a, b: (1, 1, 1, 1.0))) == []
