"""Sweeps from Python."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import subnetray
from subnetray import Sweep, run_sweep
from subnetray.config import ConfigError
from subnetray.config.compose import Composer
from subnetray.grid import plan
from tests.analysis.tables import make_grid, make_overlap, make_runs
from tests.reporting.sweeps import write_sweep

ROOT = Path(__file__).parents[1]


def test_a_sweep_is_opened_with_its_runs_pairs_and_claims_as_data_frames(tmp_path: Path) -> None:
    grid = make_grid()
    runs = make_runs(grid, lambda cell, seed: 0.25)
    write_sweep(tmp_path / "sweep", grid, runs, make_overlap(runs, lambda a, b: (250, 250, 100, 80.0)))
    sweep = Sweep.open(str(tmp_path / "sweep"))
    assert list(sweep.runs["run_id"]) == list(runs["run_id"])
    assert len(sweep.pairs) == len(runs) * (len(runs) - 1) // 2
    assert {"a.seed", "b.seed", "differs", "joint_excess"} <= set(sweep.pairs.columns)
    assert sweep.claims.loc["seeds_overlap_beyond_uniform", "verdict"] == "supported"
    assert {"estimate", "interval", "unit", "test", "runs"} <= set(sweep.claims.columns)


def _page() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reference" / "sweeps.md").read_text(), re.DOTALL)
    return str(block)


def test_the_example_reads_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = make_grid()
    runs = make_runs(grid, lambda cell, seed: 0.2 + 0.1 * seed if cell["way"] == "rl" else 0.9)
    runs.loc[runs["way"] == "own", "status"] = "failed"
    overlap = make_overlap(runs, lambda a, b: (250, 250, 100, 80.0)).assign(joint_o1=0.32)
    write_sweep(tmp_path, grid, runs, overlap)
    example = runpy.run_path(str(ROOT / "examples" / "sweeps.py"))
    sweep = Sweep.open(tmp_path)
    means = example["densities"](sweep)["mean"]
    assert means["slow", "rl", "yes"] == pytest.approx(0.3)
    assert means["fast", "copy", "yes"] == pytest.approx(0.9)
    assert "own" not in means.index.get_level_values("way")
    found = example["overlaps"](sweep)
    assert set(found.index) == {"seed", *grid.factors}
    assert found.loc["seed"].tolist() == pytest.approx([0.4, 0.32])
    assert "not tested" not in set(example["verdicts"](sweep)["verdict"])
    example["main"](str(tmp_path))
    assert f"made_up: {len(runs)} of {len(runs)} runs" in capsys.readouterr().out


def test_what_the_page_shows_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = plan(Composer(), ["+grid=smoke"])[1].grid
    runs = make_runs(grid, lambda cell, seed: 0.25)
    overlap = make_overlap(runs, lambda a, b: (250, 250, 100, 80.0)).assign(joint_o1=0.32)
    write_sweep(tmp_path / "outputs" / "origins", grid, runs, overlap)
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, list[str]]] = []
    monkeypatch.setattr("subnetray.interface.run_sweep", lambda name, words: asked.append((name, words)))
    exec(_page(), {})
    assert asked == [("origins", ["grid.seeds=[0]"])]


def test_what_is_no_sweep_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^sweep must be the directory of a sweep, as in sweep="):
        Sweep.open(tmp_path)


@pytest.mark.parametrize(
    ("grid", "override", "sentence"),
    [("nope", "out=x", "^grid=nope is unknown"), ("smoke", "algorithm.lr=-1", r"^algorithm\.lr must be ")],
)
def test_bad_input_is_a_sentence_before_a_process_starts(
    grid: str, override: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(ConfigError, match=sentence):
        run_sweep(grid, [override])


def test_what_the_command_finds_wrong_is_the_same_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^out must be a directory, and .*/file is a file"):
        run_sweep("smoke", ["out=file"])


def test_importing_the_package_imports_no_tables() -> None:
    code = "import sys, subnetray; print('pandas' in sys.modules, subnetray.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"False {subnetray.__version__}\n"
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        subnetray.swep  # noqa: B018
