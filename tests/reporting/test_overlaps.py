"""Overlaps as matrices, where a factor has many levels."""

from __future__ import annotations

from pathlib import Path

from subnetray.config import Factor
from tests.analysis.tables import Run, make_grid, make_overlap, make_runs
from tests.reporting.sweeps import report_text, table_rows, write_sweep


def test_pairs_of_many_levels_are_matrices(tmp_path: Path) -> None:
    levels = {name: [f"algorithm.steps={5 + index}"] for index, name in enumerate("abcdefg")}
    grid = make_grid(factors={"way": Factor("the way", "c", levels)}, one_at_a_time=["way"], crossed=[])
    size = {level: 100 + 50 * index for index, level in enumerate(levels)}
    runs = make_runs(grid, lambda cell, seed: size[cell["way"]] / 1000)

    def shared(a: Run, b: Run) -> tuple[int, int, int, float]:
        k1, k2 = size[a["way"]], size[b["way"]]
        return k1, k2, min(k1, k2) // 2, 10.0

    directory = write_sweep(tmp_path / "sweep", grid, runs, make_overlap(runs, shared))
    markdown = report_text(directory)
    same, same_odds, other, other_odds = (
        [row for row in table_rows(markdown) if row[0][2:] in levels and len(row) == 8][start : start + 7]
        for start in (0, 7, 14, 21)
    )
    for matrix, diagonal in ((same, ""), (other, "50.0")):
        for i, (a, row) in enumerate(zip(levels, matrix, strict=True)):
            assert row[0] == f"{i + 1} {a}"
            expected = [100 * (min(size[a], size[b]) // 2) / size[a] for b in levels]
            assert row[1:] == [diagonal if j == i else f"{value:.1f}" for j, value in enumerate(expected)]
    assert same_odds[1][1:] == ["1.50", "", *["1.50"] * 5]
    assert other_odds[1][1:] == ["1.50"] * 7
    # Every pair keeps its row, with intervals, in the table for papers.
    assert (directory / "tables" / "overlap.tex").read_text().count("way &") == 21
