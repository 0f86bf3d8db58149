"""Pages of runs: whole, and with a command that runs the same run again."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from pathlib import Path

import pytest
import yaml

from subnetray.config.compose import Composer
from subnetray.files import write_atomic
from subnetray.grid import plan
from subnetray.reporting.document import Runs, Table
from subnetray.reporting.runs import Commands, section
from subnetray.reporting.source import read
from subnetray.reporting.writers.html import to_html
from tests.analysis.tables import make_grid, make_runs
from tests.reporting.sweeps import write_sweep
from tests.reporting.writers.test_page import scripts

GRID = make_grid()


def test_the_command_of_a_run_plans_the_same_run() -> None:
    """Of cells of the first grid: its choices, its values, what holds in all cells, and what the command line said."""
    line = ["+grid=origins", "task.size=240", "rollout.temperature=0.9", "grid.seeds=[0,3]"]
    _, planned = plan(Composer(), line)
    grid = dataclasses.replace(planned.grid, overrides=[*line, *planned.grid.overrides])  # as a sweep is read
    commands = Commands(grid)
    for run in planned.runs[1::4]:
        command = commands.again(run.cell, run.seed, yaml.safe_dump(run.config.to_dict()))
        start, words = shlex.split(command)[:3], shlex.split(command)[3:]
        assert start == ["python", "-m", "subnetray.train"]
        *words, seed = words
        assert seed == f"seed={run.seed}"
        _, alone = plan(Composer(), ["+grid=single", *words, f"grid.seeds=[{run.seed}]"])
        assert [each.run_id for each in alone.runs] == [run.run_id]


def test_a_run_that_takes_the_mask_of_another_or_has_no_config_has_no_command() -> None:
    cell = {"rate": "slow", "way": "rl", "limit": "yes"}
    assert Commands(GRID).again(cell, 0, "subnetwork: {mask: oracle}") == ""
    for damaged in ("", "a: [", "- 1", "subnetwork: x"):
        assert Commands(GRID).again(cell, 0, damaged) == ""


def test_every_run_has_a_page_and_a_row_that_leads_to_it(tmp_path: Path) -> None:
    runs = make_runs(GRID, lambda cell, seed: 0.5, growth_held=lambda cell, seed: math.nan)
    runs.loc[0, ["status", "error"]] = ["failed", "</script><script>alert(1)</script>"]
    directory = write_sweep(tmp_path, GRID, runs)
    first, second = runs["run_id"][:2]
    write_atomic(directory / "runs" / second / "config.yaml", "task: </script>\n")
    write_atomic(directory / "runs" / second / "time.json", json.dumps({"seconds": {"train": 1.234, "sync": 0.5}}))
    *_, listed, content = section(read(directory))
    assert isinstance(listed, Table)
    assert isinstance(content, Runs)
    assert list(listed.runs) == [(run_id,) for run_id in runs["run_id"]] == [(run_id,) for run_id in content.pages]
    (name, text), *_ = scripts(to_html([content], "T", lambda path: b""))
    assert name == "runs"
    found = json.loads(text)
    assert found[first]["error"] == "</script><script>alert(1)</script>"
    page = found[second]
    assert (page["seed"], page["status"], page["config"]) == (1, "done", "task: </script>\n")
    assert "1.234" not in text  # files are the same whatever interrupted a sweep, and times are not
    assert page["curves"]["density"] == [list(range(1, 11)), pytest.approx([0.05 * step for step in range(1, 11)])]
    assert page["numbers"]["density_bitwise"] == "0.5"
    assert "growth_held" not in page["numbers"]


def test_a_sweep_without_results_has_no_section(tmp_path: Path) -> None:
    assert section(read(write_sweep(tmp_path, GRID, None))) == []
