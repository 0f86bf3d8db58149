"""Charts: their data are the sweep's, they compile, and names of others are data and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from subnetray.analysis.pairs import label_pairs
from subnetray.config import Factor
from subnetray.nulls import STRONGEST
from subnetray.reporting.pictures import charts
from subnetray.reporting.pictures.cell_matrix import cell_matrix
from subnetray.reporting.source import Sweep, read
from tests.analysis.tables import Cell, Run, make_grid, make_overlap, make_runs
from tests.reporting.sweeps import write_sweep

GRID = make_grid()
ABOUT = "</script>'\"]; alert(1) //"  # a factor may be about anything
LEVEL = "a;alert(1)*%@^,=:"  # the worst that a level may be called


def density(cell: Cell, seed: int) -> float:
    return 0.1 + 0.5 * (cell["rate"] == "fast") + 0.01 * seed


def counts(a: Run, b: Run) -> tuple[int, int, int, float]:
    k1, k2 = (round(1000 * run["density_bitwise"]) for run in (a, b))
    return k1, k2, round(0.8 * min(k1, k2)), 0.5 * min(k1, k2)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    runs = make_runs(GRID, density)
    return read(write_sweep(tmp_path_factory.mktemp("sweep"), GRID, runs, make_overlap(runs, counts)))


def made(sweep: Sweep) -> dict[str, charts.Spec | None]:
    pairs = label_pairs(sweep.grid, sweep.runs, sweep.overlap)
    return {
        "rate": charts.density_by_learning_rate(sweep),
        "level": charts.density_by_level(sweep),
        "along": charts.along_the_run(sweep),
        "matrix": charts.overlap_matrix(cell_matrix(sweep, pairs)),
    }


def rows(spec: charts.Spec | None) -> list[dict[str, Any]]:
    assert spec is not None
    found: list[dict[str, Any]] = spec["datasets"]["rows"]
    return found


def test_every_chart_compiles_with_the_library_that_draws_it(sweep: Sweep) -> None:
    for name, spec in made(sweep).items():
        assert spec is not None, name
        vl_convert.vegalite_to_vega(spec, vl_version=".".join(spec["$schema"].split("/v")[-1].split(".")[:2]))


def test_dots_are_the_runs_that_are_done(sweep: Sweep) -> None:
    found = made(sweep)
    by_id = {run["run_id"]: run for run in sweep.runs.to_dict("records")}
    for row in [*rows(found["rate"]), *rows(found["level"])]:
        run = by_id[row["run"]]
        assert row["density"] == pytest.approx(run["density_bitwise"], rel=1e-4)
        assert (row["seed"], row["lr"]) == (run["seed"], run["lr"])
    # Every cell of the crossing at a seed, and no run of another level of what the chart does not show.
    assert len(rows(found["rate"])) == 3 * 2 * 3 - 3 * sum(1 for _ in _unplanned(sweep))
    assert {row["level"] for row in rows(found["level"]) if row["factor"] == "rate"} == {"slow", "fast"}


def _unplanned(sweep: Sweep) -> list[tuple[str, str]]:
    """Cells of rate and way that the grid leaves out."""
    ran = {(run["rate"], run["way"]) for run in sweep.runs.to_dict("records")}
    return [(rate, way) for rate in ("slow", "fast") for way in ("rl", "copy", "own") if (rate, way) not in ran]


def test_lines_are_means_between_the_lowest_and_the_highest_seed(sweep: Sweep) -> None:
    # Density is linear in the step, of ten; seeds are a point apart.
    (last,) = [
        row
        for row in rows(made(sweep)["along"])
        if (row["factor"], row["level"], row["shown"], row["step"]) == ("rate", "fast", "since the init", 10)
    ]
    assert [last[name] for name in ("low", "mean", "high")] == pytest.approx([0.6, 0.61, 0.62])


def test_the_matrix_has_both_sides_of_every_pair_of_cells(sweep: Sweep) -> None:
    found = {(row["row"], row["column"]): row for row in rows(made(sweep)["matrix"])}
    for (one, other), row in found.items():
        assert found[other, one]["pairs"] == row["pairs"] == (3 if one == other else 9)
        assert row["excess"] == pytest.approx(row["observed"] - row["expected"], abs=1e-4)
    # The smaller mask is 0.8 shared, and half of it is expected.
    small, large = found["baseline", "rate=fast"], found["rate=fast", "baseline"]
    assert (small["observed"], small["expected"]) == pytest.approx((0.8, 0.5))
    sizes = [(0.1 + 0.01 * a, 0.6 + 0.01 * b) for a in range(3) for b in range(3)]
    assert large["observed"] == pytest.approx(sum(0.8 * a / b for a, b in sizes) / 9, rel=1e-3)
    assert STRONGEST in json.dumps(made(sweep)["matrix"]["params"])  # type: ignore[index]


def test_names_of_others_are_data_and_no_part_of_an_expression(tmp_path: Path) -> None:
    levels = {LEVEL: ["algorithm.lr=1e-5"], "b": ["algorithm.lr=1e-6"]}
    grid = make_grid(factors={"rate": Factor(ABOUT, "b", levels)}, one_at_a_time=["rate"], crossed=[])
    runs = make_runs(grid, lambda cell, seed: 0.5)
    for spec in made(read(write_sweep(tmp_path / "a", grid, runs, make_overlap(runs, counts)))).values():
        assert spec is not None
        assert LEVEL in json.dumps(spec["datasets"])
        for key, value in _strings({name: part for name, part in spec.items() if name != "datasets"}):
            assert LEVEL not in value
            assert ABOUT not in value or key == "title"


def _strings(content: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(content, dict):
        return [found for name, value in content.items() for found in _strings(value, name)]
    if isinstance(content, list):
        return [found for value in content for found in _strings(value, key)]
    return [(key, content)] if isinstance(content, str) else []


def test_a_sweep_that_has_only_begun_has_no_charts(tmp_path: Path) -> None:
    assert set(made(read(write_sweep(tmp_path, GRID, None))).values()) == {None}


def test_nothing_of_charts_is_imported_before_one_is_made() -> None:
    command = "import sys, subnetray.reporting.report; print({'altair', 'vl_convert'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
