"""Where the time went: shares that add up to all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from subnetray.config import Grid
from subnetray.reporting.budget import budget
from subnetray.reporting.document import Paragraph, Table
from subnetray.reporting.source import Sweep

RUNS: dict[str, dict[str, float]] = {
    "a": {"import": 4.0, "load": 1.0, "train": 6.0, "rollout": 2.0, "wait": 0.5, "total": 10.0},
    "b": {"import": 0.0, "load": 1.0, "train": 8.0, "rollout": 3.0, "wait": 0.0, "total": 12.5},
    "earlier": {"train": 1000.0, "total": 1000.0},
}


OF_WHICH = "of which, beside all these: making inits, processor time"


def write(directory: Path, cores: int | None, held: float = 1, inits: float = 0.0) -> Sweep:
    for name, seconds in RUNS.items():
        (directory / "runs" / name).mkdir(parents=True)
        (directory / "runs" / name / "time.json").write_text(json.dumps({"seconds": seconds}))
    time = {
        "seconds": {"prepare": 2.0, "ray": 1.0, "engines": 3.0, "runs": 19.0, "report": 9.0},
        "inits_cpu_s": inits,
        "cores": cores,
        "cores_per_run": held,
        "runs": ["a", "b", "failed"],
    }
    (directory / "time.json").write_text(json.dumps(time))
    return Sweep(directory, Grid(), 3, pd.DataFrame(), pd.DataFrame())


def cells(blocks: list[Any]) -> dict[str, tuple[str, ...]]:
    (found,) = (block for block in blocks if isinstance(block, Table))
    return {row[0]: row[1:] for row in found.rows}


def test_shares_are_of_all_cores_and_add_up(tmp_path: Path) -> None:
    blocks = budget(write(tmp_path, cores=2))
    rows = cells(blocks)
    # 2 cores × (2 + 1 + 3 + 19) s are 50 s.
    assert rows["training"] == ("14.0", "7.00", "28.0")
    assert rows["sampling rollouts"] == ("5.0", "2.50", "10.0")
    assert rows["waiting for engines that serve others"] == ("0.5", "0.25", "1.0")
    assert rows["the rest of a run"] == ("1.0", "–", "2.0")  # 10 + 4 - 13.5, 12.5 - 12
    assert rows["before runs: starting engines"] == ("3.0", "–", "12.0")
    assert rows["between runs: processes that start, cores that no run holds"] == ("11.5", "–", "23.0")  # 38 - 26.5
    assert sum(float(row[-1]) for row in rows.values()) == pytest.approx(100)
    (text,) = (block.text for block in blocks if isinstance(block, Paragraph))
    assert "2 runs in 25 s" in text
    assert "38.0 % went into training" in text


def test_training_inits_is_a_line_of_its_own_beside_the_others(tmp_path: Path) -> None:
    blocks = budget(write(tmp_path, cores=2, inits=6.0))
    rows = cells(blocks)
    assert rows.pop(OF_WHICH) == ("6.0", "–", "12.0")  # of 50 s; one core, while the others wait for it
    assert sum(float(row[-1]) for row in rows.values()) == pytest.approx(100)
    (text,) = (block.text for block in blocks if isinstance(block, Paragraph))
    assert "38.0 % went into training, rollouts, evaluation and measuring of runs." in text
    assert "Training the inits that they start from took 6.0 s of processor time" in text
    assert "up to 50.0 %." in text


def test_inits_that_were_there_are_not_mentioned(tmp_path: Path) -> None:
    blocks = budget(write(tmp_path, cores=2))
    assert OF_WHICH not in cells(blocks)
    (text,) = (block.text for block in blocks if isinstance(block, Paragraph))
    assert "inits" not in text


def test_a_sweep_of_before_does_not_say_what_inits_took(tmp_path: Path) -> None:
    sweep = write(tmp_path, cores=2, inits=6.0)
    time = json.loads((tmp_path / "time.json").read_text())
    del time["inits_cpu_s"]
    (tmp_path / "time.json").write_text(json.dumps(time))
    assert OF_WHICH not in cells(budget(sweep))


def test_runs_may_hold_several_cores(tmp_path: Path) -> None:
    rows = cells(budget(write(tmp_path, cores=4, held=2)))
    assert rows["training"] == ("14.0", "7.00", "28.0")
    assert sum(float(row[-1]) for row in rows.values()) == pytest.approx(100)


def test_on_a_cluster_there_are_seconds_and_no_shares(tmp_path: Path) -> None:
    rows = cells(budget(write(tmp_path, cores=None, inits=6.0)))
    assert rows["training"] == ("14.0", "7.00")
    assert rows[OF_WHICH] == ("6.0", "–")
    assert not any(name.startswith(("before", "between")) for name in rows)


def test_a_sweep_that_does_not_say_has_no_section(tmp_path: Path) -> None:
    sweep = write(tmp_path, cores=2)
    (tmp_path / "time.json").unlink()
    assert budget(sweep) == []
