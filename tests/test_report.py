"""``python -m subnetray.report``: exit codes and sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray import report
from tests.analysis.tables import make_grid, make_runs
from tests.reporting.sweeps import write_sweep


def test_the_report_of_a_sweep_is_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write_sweep(tmp_path / "a=b, c", make_grid(), make_runs(make_grid(), lambda cell, seed: 0.25))
    assert report.main([f"sweep='{directory}'"]) == 0
    assert capsys.readouterr().out == f"the report is {directory / 'report.md'}\n"
    assert {path.name for path in directory.iterdir()} == {
        *("sweep.yaml", "runs.parquet", "runs", "claims.json", "report.md", "report.html", "tables", "figures")
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "a report is of one sweep: write sweep=DIR, as in sweep=outputs/origins"),
        (["sweep=a", "sweep=b"], "a report is of one sweep"),
        (["+sweep=a"], "+sweep=a is not an option of a report: write sweep=DIR"),
        (["grid=origins"], "grid=origins is not an option of a report: write sweep=DIR"),
        (["~sweep"], "~sweep is not an option of a report"),
        (["outputs/origins"], "'outputs/origins' is no override"),
        (["sweep="], "sweep must be a directory"),
        (["sweep=a", "cache="], "cache must be a directory, as in cache=/scratch/subnetray"),
        (["sweep=a", "cache=b", "cache=c"], "cache is given more than once"),
        (["cache=b"], "a report is of one sweep"),
        (["sweep=null"], "null/sweep.yaml does not exist"),
        (["sweep=[a]"], "[a]/sweep.yaml does not exist"),
        (["sweep=a,b"], "a,b/sweep.yaml does not exist"),
        (["sweep=no/such/place"], "no/such/place/sweep.yaml does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("subnetray: ")
    assert captured.err.count("\n") == 1
    assert sentence in captured.err


def test_a_missing_package_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    assert report.main([f"sweep={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "a report needs pandas, matplotlib, altair, vl_convert: " in error
    assert "pip install 'subnetray[train]'" in error
