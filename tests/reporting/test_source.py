"""Reading a sweep's directory."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from subnetray.config import ConfigError
from subnetray.reporting.source import read
from tests.analysis.tables import make_grid, make_runs
from tests.reporting.sweeps import write_sweep


def test_a_sweep_that_has_only_begun_has_empty_tables(tmp_path: Path) -> None:
    sweep = read(write_sweep(tmp_path, make_grid(), runs=None))
    assert sweep.grid == make_grid()
    assert (sweep.planned, len(sweep.runs), len(sweep.overlap)) == (18, 0, 0)


def test_the_overrides_of_the_command_line_hold_in_the_whole_grid(tmp_path: Path) -> None:
    write_sweep(tmp_path, make_grid(overrides=["algorithm.lr=2"]), runs=None)
    content = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump(content | {"overrides": ["algorithm.lr=1"], "runs": ["a", "b"]})
    )
    sweep = read(tmp_path)
    assert sweep.grid.overrides == ["algorithm.lr=1", "algorithm.lr=2"]
    assert sweep.planned == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "must be the directory of a sweep, as in sweep=outputs/origins"),
        ("a: [", "is not readable as the description of a sweep"),
        ("3", "is not readable as the description of a sweep"),
        ("version: 1", "is not readable as the description of a sweep"),
        ("version: 3\ngrid: {}", "is of version 3, and this subnetray reads 1 and 2"),
        ("version: 1\ngrid: {colour: red}", "describes no grid"),
        ("version: 1\ngrid: {name: a, factors: {x: {hue: 1}}}", "describes no grid"),
    ],
)
def test_a_directory_that_is_no_sweep_is_one_sentence(tmp_path: Path, text: str | None, sentence: str) -> None:
    if text is not None:
        (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ConfigError, match="sweep") as raised:
        read(tmp_path)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_table_that_lacks_a_factor_is_one_sentence(tmp_path: Path) -> None:
    runs = make_runs(make_grid(), lambda cell, seed: 0.5).drop(columns="way")
    write_sweep(tmp_path, make_grid(), runs)
    with pytest.raises(ConfigError, match=r"runs\.parquet lacks the column way"):
        read(tmp_path)


def test_metrics_of_a_run_are_its_lines(tmp_path: Path) -> None:
    runs = make_runs(make_grid(), lambda cell, seed: 0.5)
    sweep = read(write_sweep(tmp_path, make_grid(), runs))
    lines = sweep.metrics(runs["run_id"][0])
    assert [line["density"] for line in lines] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert sweep.metrics("gone") == []
