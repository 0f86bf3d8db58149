"""A sweep's tables and report, made again from its runs alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from subnetray.driver.derive import derive
from subnetray.driver.gather import identity
from subnetray.driver.ledger import Ledger
from subnetray.driver.pairs import Finished, Pairs
from subnetray.grid import Plan
from subnetray.report import main
from subnetray.store import derived, results
from tests.driver.sweeps import make_plan, write_result


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan()


@pytest.fixture
def swept(tmp_path: Path, plan: Plan) -> Path:
    """The runs of a finished sweep, and nothing that was derived from them."""
    ledger = Ledger(tmp_path / "out" / "smoke", plan)
    ledger.open(["+grid=smoke"], "auto")
    for run in plan.runs:
        write_result(ledger.directory, run)
    ledger.release()
    return ledger.directory


def test_a_report_of_runs_alone_says_what_they_say_and_what_it_lacks(swept: Path, tmp_path: Path, plan: Plan) -> None:
    said: list[str] = []
    report = derive(swept, tmp_path / "cache", said.append)
    assert report == swept / "report.md"
    assert "12 of 12 runs are done, 0 failed" in report.read_text()
    rows = pq.read_table(swept / derived.RUNS).to_pylist()
    assert [row["run_id"] for row in rows] == [run.run_id for run in plan.runs]
    assert [{name: value for name, value in row.items() if value is not None} for row in rows] == [
        {name: value for name, value in row.items() if value is not None} for row in Ledger(swept, plan).rows()
    ]
    (sentence,) = said
    assert sentence.startswith(f"overlap.parquet is left as it is: the init of tiny is not in {tmp_path / 'cache'},")
    assert "name the sweep's cache with cache=DIR" in sentence


def test_the_command_looks_for_inits_where_it_is_told(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"sweep={swept}", f"cache={tmp_path / 'mine'}"]) == 0
    assert f"the init of tiny is not in {tmp_path / 'mine'}," in capsys.readouterr().out


def test_only_what_could_be_made_whole_counts_as_made(swept: Path, tmp_path: Path, plan: Plan) -> None:
    derive(swept, tmp_path / "cache", lambda text: None)
    assert not derived.is_fresh(swept, Ledger(swept, plan).inputs())
    ledger = Ledger(swept, plan)
    pairs = Pairs([run.run_id for run in plan.runs])
    for run in plan.runs:  # as a driver that had their init would have
        result = ledger.result(run)
        assert result is not None
        mask, delta = (ledger.run_directory(run) / name for name in (results.MASK, results.DELTA))
        pairs._runs[run.run_id] = Finished(run.run_id, mask, delta, swept, identity(result))
    pairs.write(swept / derived.OVERLAP)
    said: list[str] = []
    derive(swept, tmp_path / "cache", said.append)
    assert said == []
    assert derived.is_fresh(swept, Ledger(swept, plan).inputs())


@pytest.mark.parametrize("table", ["runs.parquet", "claims.json", "report.md", "report.html", "tables/origins.tex"])
def test_a_damaged_table_is_made_again(swept: Path, tmp_path: Path, table: str) -> None:
    derive(swept, tmp_path / "cache", lambda text: None)
    whole = (swept / table).read_bytes()
    (swept / table).write_bytes(whole[:40])
    derive(swept, tmp_path / "cache", lambda text: None)
    assert (swept / table).read_bytes() == whole


def test_a_damaged_run_is_left_out_and_named(swept: Path, tmp_path: Path, plan: Plan) -> None:
    run = plan.runs[3].run_id
    (swept / "runs" / run / results.DELTA).write_bytes(b"")
    said: list[str] = []
    report = derive(swept, tmp_path / "cache", said.append)
    assert "11 of 12 runs are done, 0 failed, 1 have no result yet" in report.read_text()
    assert f"run {run} is left out, as its {results.DELTA} has 0 bytes" in said[0]


def test_a_running_sweep_is_reported_from_its_tables_and_left_alone(swept: Path, tmp_path: Path, plan: Plan) -> None:
    running = Ledger(swept, plan)
    assert running.lock()
    running.write_table(derived.RUNS, running.rows()[:2], pq.read_schema(_table(swept, running)))
    before = (swept / derived.RUNS).read_bytes()
    assert "2 of 12 runs are done" in derive(swept, tmp_path / "cache", lambda text: None).read_text()
    assert (swept / derived.RUNS).read_bytes() == before


def _table(directory: Path, ledger: Ledger) -> Path:
    ledger.write_runs()
    return directory / derived.RUNS
