"""What is kept offline: one W&B run a run, with every step once, whatever happened to the sweep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from subnetray.config import Tracking
from subnetray.driver.tracking import RunFiles, Tracker, steps
from subnetray.driver.tracking.environment import environment
from subnetray.driver.tracking.notes import UNFINISHED
from subnetray.driver.tracking.records import Sweep, of_run, sweep_id
from subnetray.reporting.findings import Findings
from tests.driver.sweeps import make_plan
from tests.driver.tracked import config, files, label, offline, row, sweep_plan, track, write_steps

RUNS = sweep_plan().runs[:2]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is tested here, and not how long a busy machine may take to write it."""
    monkeypatch.setattr("subnetray.driver.tracking.patience.TOTAL_S", 180.0)


def test_a_run_is_logged_under_its_own_id_and_the_sweep_s_name(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    for run in RUNS:
        write_steps(out, run, range(1, 4), reward=0.5)
    track(out, RUNS)
    found = offline(out)
    assert set(found) == {*(run.run_id for run in RUNS), "sweep-mine"}
    assert {kept.run.run_group for kept in found.values()} == {"mine"}
    one = found[RUNS[0].run_id]
    assert (one.run.display_name, one.run.job_type, one.exit_code) == (f"{label(RUNS[0])} seed=0", "run", 0)
    assert one.steps == [1, 2, 3]
    assert [item["_step"] for item in one.history] == [1, 2, 3]
    assert (one.summary["final/density_bitwise"], one.summary["status"]) == (0.25, "done")
    assert config(one)["factor/method"] == RUNS[0].cell["method"]
    assert config(one)["algorithm"]["name"] == "grpo"
    # A number under the name of a table would replace it.
    sweep = found["sweep-mine"]
    assert (sweep.summary["runs/done"], sweep.summary["runs/failed"]) == (2, 0)
    (table,) = sweep.directory.glob("files/media/table/tables/runs_*.json")
    assert [line[0] for line in json.loads(table.read_text())["data"]] == [run.run_id for run in RUNS]
    assert sweep.summary["tables/runs/_type"] == "table-file"
    assert not (out / "wandb" / UNFINISHED).exists()


def test_a_sweep_that_grows_logs_what_is_new_and_nothing_again(tmp_path: Path) -> None:
    for run in RUNS:
        write_steps(tmp_path, run, range(1, 4))
    track(tmp_path, RUNS[:1])
    before = offline(tmp_path)
    track(tmp_path, RUNS)
    after = offline(tmp_path)
    assert set(after) == {*before, RUNS[1].run_id}
    assert after[RUNS[0].run_id].directory == before[RUNS[0].run_id].directory
    assert sweep_id("of/which one") == sweep_id("of/which one") != sweep_id("of-which-one") == "sweep-of-which-one"


def test_a_run_that_ran_again_is_logged_again_and_a_damaged_directory_too(tmp_path: Path) -> None:
    changed, emptied, unnoted, kept = sweep_plan().runs[:4]
    for run in sweep_plan().runs[:4]:
        write_steps(tmp_path, run, range(1, 4))
    track(tmp_path, sweep_plan().runs[:4])
    before = offline(tmp_path)
    foreign = tmp_path / "wandb" / f"offline-run-20200101_000000-{changed.run_id}"
    foreign.mkdir()  # no directory of ours: it holds no note
    write_steps(tmp_path, changed, range(1, 6))
    (before[emptied.run_id].directory / f"run-{emptied.run_id}.wandb").write_bytes(b"")
    (before[unnoted.run_id].directory / "subnetray.json").write_text("")
    track(tmp_path, sweep_plan().runs[:4])
    after = offline(tmp_path)
    assert set(after) == set(before)
    assert after[changed.run_id].steps == [1, 2, 3, 4, 5]
    assert after[emptied.run_id].steps == after[unnoted.run_id].steps == [1, 2, 3]
    assert after[kept.run_id].directory == before[kept.run_id].directory
    assert foreign.is_dir()


def test_steps_go_by_their_numbers_however_the_file_was_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert steps.read(path) == {}
    path.write_bytes(
        b'{"step": 1, "loss": 3.0}\n{"step": 2, "loss"\n\xff\xfe\n[1]\n{"loss": 0}\n{"step": "3"}\n{"step": true}\n'
        b'{"step": 3, "loss": 1.0}\n{"step": 2, "loss": 2.0}\n{"step": 1, "loss": 3.5}\n{"step": 4, "lo'
    )
    assert {step: values["train/loss"] for step, values in steps.read(path).items()} == {1: 3.5, 2: 2.0, 3: 1.0}
    assert list(steps.read(path)) == [1, 2, 3]
    (tmp_path / "time.jsonl").write_text(
        '{"step": 2, "seconds": 0.5, "tokens_per_s": 9.0}\n{"step": 7, "seconds": 1}\n{'
    )
    assert steps.read(path)[2] == {"step": 2, "train/loss": 2.0, "time/seconds": 0.5, "time/tokens_per_s": 9.0}
    assert list(steps.read(path)) == [1, 2, 3]


def test_no_number_of_a_row_replaces_a_step_s(tmp_path: Path) -> None:
    run = RUNS[0]
    write_steps(tmp_path, run, range(1, 3), density_step=0.125)
    tracker = Tracker(Tracking(mode="offline"), sweep_plan(), tmp_path, print)
    metrics = files(tmp_path, run)
    tracker.finish(run, label(run), metrics, row(run, density_step=0.5))
    tracker.close(Findings)
    kept = offline(tmp_path)[run.run_id]
    assert (kept.summary["update/density_step"], kept.summary["final/density_step"]) == (0.125, 0.5)


def test_a_run_that_failed_before_its_first_step_says_why(tmp_path: Path) -> None:
    tracker = Tracker(Tracking(mode="offline"), sweep_plan(), tmp_path, print)
    run = RUNS[0]
    failed = row(run, status="failed", error="out of memory", density_bitwise=None)
    tracker.finish(run, label(run), files(tmp_path, run), failed)
    tracker.close(Findings)
    kept = offline(tmp_path)[run.run_id]
    assert (kept.steps, kept.exit_code, kept.summary["error"]) == ([], 1, "out of memory")
    assert "final/density_bitwise" not in kept.summary


_INTERRUPTED = """
import sys, time
from pathlib import Path
from tests.driver.tracked import *
directory, runs = Path(sys.argv[1]), sweep_plan().runs[:4]
tracker = Tracker(Tracking(mode="offline"), sweep_plan(), directory, print)
for run in runs:
    tracker.finish(run, label(run), files(directory, run), row(run))
while True:
    time.sleep(1)
"""


def test_a_driver_that_is_killed_leaves_no_process_and_no_half_of_a_run(tmp_path: Path) -> None:
    """... and the next one ends with every step of every run once."""
    runs = sweep_plan().runs[:4]
    for run in runs:
        write_steps(tmp_path, run, range(1, 200))
    driver = subprocess.Popen([sys.executable, "-c", _INTERRUPTED, str(tmp_path)])
    deadline = time.monotonic() + 240  # of a busy machine: imports alone may take it a minute
    while len(list((tmp_path / "wandb").glob("offline-run-*"))) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    family = psutil.Process(driver.pid).children(recursive=True)
    assert len(family) >= 2  # W&B's process, and its service
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    whole = offline(tmp_path)
    assert 0 < len(whole) < 4
    assert all(kept.steps == list(range(1, 200)) for kept in whole.values())
    track(tmp_path, runs)
    found = offline(tmp_path)
    assert set(found) == {*(run.run_id for run in runs), sweep_id(tmp_path.name)}
    assert all(found[run.run_id].steps == list(range(1, 200)) for run in runs)
    assert all(found[key].directory == kept.directory for key, kept in whole.items())
    assert not (tmp_path / "wandb" / UNFINISHED).exists()


def test_agents_in_the_environment_neither_rename_nor_regroup_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RUN_ID", "NAME", "RUN_GROUP", "SWEEP_ID", "PROJECT", "RUN_NAME", "JOB_TYPE", "TAGS", "NOTES"):
        monkeypatch.setenv(f"WANDB_{name}", "of-an-agent")
    for name, value in {"MODE": "disabled", "RESUME": "must", "DIR": "/nowhere", "DISABLED": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_ENTITY", "us")
    for run in RUNS:
        write_steps(tmp_path, run, [1])
    track(tmp_path, RUNS)
    found = offline(tmp_path)
    assert set(found) == {*(run.run_id for run in RUNS), sweep_id(tmp_path.name)}
    for kept in found.values():
        assert (kept.run.run_group, kept.run.project, kept.run.entity) == (tmp_path.name, "subnetray", "us")
        assert "of-an-agent" not in str(kept.run)


def test_no_secret_of_the_environment_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MY_SECRET"):
        monkeypatch.setenv(name, "planted" * 6)
    write_steps(tmp_path, RUNS[0], [1])
    track(tmp_path, RUNS[:1])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path for path in files if b"planted" in path.read_bytes()] == []


def test_what_reaches_the_server_is_kept_of_the_environment() -> None:
    given = {"WANDB_API_KEY": "k", "WANDB_BASE_URL": "u", "WANDB_SERVICE": "s", "WANDB_X_ANY": "x", "HTTPS_PROXY": "p"}
    kept = environment(given)
    assert {name for name in given if name in kept} == {"WANDB_API_KEY", "WANDB_BASE_URL", "HTTPS_PROXY"}


def test_a_disk_that_takes_nothing_is_said_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("a file where the directory should be")
    for run in RUNS:
        write_steps(tmp_path, run, [1])
    said: list[str] = []
    track(tmp_path, RUNS, say=said.append)
    (sentence,) = said
    assert sentence.startswith(f"W&B: {tmp_path / 'wandb'} could not be written in full (")
    assert sentence.endswith("results are not affected, and the same command writes what is missing")


def test_the_driver_s_thread_only_hands_over(tmp_path: Path) -> None:
    """Milliseconds a run, while W&B's process has not even started."""
    path = write_steps(tmp_path, RUNS[0], range(1, 61))
    tracker = Tracker(Tracking(mode="offline"), sweep_plan(), tmp_path, print)
    begun = time.monotonic()
    for _ in range(20):
        tracker.follow(RUNS[0], "a", RunFiles(path.parent))
    tracker.finish(RUNS[0], "a", RunFiles(path.parent), row(RUNS[0]))
    assert time.monotonic() - begun < 0.5
    tracker.close(Findings)
    assert offline(tmp_path)[RUNS[0].run_id].steps == list(range(1, 61))


def test_disabled_tracking_writes_nothing(tmp_path: Path) -> None:
    write_steps(tmp_path, RUNS[0], [1])
    track(tmp_path, RUNS[:1], mode="disabled")
    assert not (tmp_path / "wandb").exists()


def test_what_else_a_grid_runs_changes_nothing_of_a_run() -> None:
    more = make_plan("grid.seeds=[0,1,2]").runs
    same = {run.run_id: run for run in more}[RUNS[0].run_id]
    one, other = (
        of_run(Sweep("s", sweep_plan().grid), run, "a", RunFiles(Path("m")), row(run)) for run in (RUNS[0], same)
    )
    assert one == other
    assert one.digests() == other.digests()
