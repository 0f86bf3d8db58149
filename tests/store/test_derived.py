"""What is derived from runs, and when it is made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from subnetray.store import derived


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "figures").mkdir()
    for name in (derived.RUNS, derived.REPORT, "figures/density.png"):
        (tmp_path / name).write_text(name)
    derived.stamp(tmp_path, ["a"], [tmp_path / n for n in (derived.RUNS, derived.REPORT, "figures/density.png")])
    return tmp_path


def test_what_was_just_made_is_fresh_and_of_other_runs_it_is_not(sweep: Path) -> None:
    assert derived.is_fresh(sweep, ["a"])
    assert not derived.is_fresh(sweep, ["b"])
    derived.begin(sweep)
    assert not derived.is_fresh(sweep, ["a"])


@pytest.mark.parametrize("name", [derived.RUNS, derived.REPORT, "figures/density.png", ".derived.json"])
@pytest.mark.parametrize("text", [None, "", "something else"])
def test_a_file_that_is_missing_or_was_changed_makes_all_stale(sweep: Path, name: str, text: str | None) -> None:
    if text is None:
        (sweep / name).unlink()
    else:
        (sweep / name).write_text(text)
    assert not derived.is_fresh(sweep, ["a"])


def test_a_file_that_is_not_made_any_more_goes_and_a_users_own_stays(sweep: Path) -> None:
    (sweep / "figures" / "mine.png").write_text("")
    derived.stamp(sweep, ["a"], [sweep / derived.RUNS, sweep / derived.REPORT])
    assert not (sweep / "figures" / "density.png").exists()
    assert (sweep / "figures" / "mine.png").exists()
    assert sweep / "figures" / "mine.png" not in derived.written(sweep)


@pytest.mark.parametrize(
    "name",
    ["../thesis.tex", "/etc/hostname", "runs/a/result.json", "figures/../../x", "figures/..", "sweep.yaml", 3, ""],
)
def test_a_stamp_cannot_name_files_that_sweeps_do_not_derive(sweep: Path, name: object) -> None:
    (sweep / ".derived.json").write_text(json.dumps({"inputs": "x", "files": {str(name): "y"}}))
    assert sorted(path.name for path in derived.written(sweep)) == [".derived.json", "report.md", "runs.parquet"]


@pytest.mark.parametrize("name", ["claims.json", "runs.parquet", "figures"])
def test_what_stands_in_place_of_what_a_sweep_writes_is_named(tmp_path: Path, name: str) -> None:
    assert derived.misplaced(tmp_path) is None
    if name == "figures":
        (tmp_path / name).touch()
        assert (
            derived.misplaced(tmp_path)
            == f"{tmp_path / name} is a file, where a sweep has a directory of this name: move it away"
        )
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).mkdir()
        assert f"{name} is a directory, where a sweep has a file" in str(derived.misplaced(tmp_path))
        (tmp_path / name).rmdir()
        (tmp_path / name).touch()
    assert derived.misplaced(tmp_path) is None
