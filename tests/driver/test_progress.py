"""What a person sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray.driver.progress import Progress, clock, state, steps_done
from subnetray.store import results
from tests.driver.sweeps import make_plan, make_result


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3600, "1:00:00"), (-3, "0:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_finished_and_failed_runs_are_counted_and_time_left_follows_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("subnetray.driver.progress.time.monotonic", lambda: now)
    lines: list[str] = []
    first, second, third = make_plan().runs[:3]
    shown = Progress(4, 1, {first.run_id: 10.0, second.run_id: 10.0, third.run_id: 40.0}, lines.append)
    now = 110.0
    shown.finished(first, "baseline", make_result(first), running=2)
    shown.finished(second, "kl=0.1", {"status": "failed", "error": "RunError: loss is nan at step 2"}, running=1)
    assert lines[0] == (
        "[2/4] 0:10, 2 running, about 0:50 left | baseline seed=0: density 25.0%, accuracy 50.0% -> 50.0%"
    )
    assert lines[1] == (
        "[2/4] 0:10, 1 running, 1 failed, about 0:20 left | kl=0.1 seed=1: failed: RunError: loss is nan at step 2"
    )


def test_silence_is_broken_by_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("subnetray.driver.progress.time.monotonic", lambda: now)
    lines: list[str] = []
    shown = Progress(1, 0, {"a": 1.0}, lines.append)
    now = 5.0
    shown.tick(["x"], 1)
    assert lines == []
    now = 30.0
    shown.tick(["baseline seed=0 (step 3 of 6)"], 1)
    shown.tick([], 1)
    assert lines == ["[0/1] 0:30, 1 running | waiting for baseline seed=0 (step 3 of 6)"]


def test_steps_are_the_lines_written_so_far(tmp_path: Path) -> None:
    assert steps_done(tmp_path / "none") == 0
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert steps_done(tmp_path / "metrics.jsonl") == 2


def test_a_run_says_what_it_does_and_its_step_while_it_trains(tmp_path: Path) -> None:
    assert state(tmp_path / "none", 6) == "starts"
    results.note_doing(tmp_path, "samples pairs")
    assert state(tmp_path, 6) == "samples pairs"
    results.note_doing(tmp_path, results.TRAINS)
    assert state(tmp_path, 6) == "step 0 of 6"
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    assert state(tmp_path, 6) == "step 1 of 6"
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' * 6)
    results.note_doing(tmp_path, "evaluates the final")
    assert state(tmp_path, 6) == "evaluates the final"
    results.note_doing(tmp_path, "\x1b[2J" + "x" * 10_000)
    assert len(state(tmp_path, 6)) <= 300
    assert state(tmp_path, 6).isprintable()


def test_a_run_that_starts_again_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    said: list[str] = []
    run = make_plan().runs[0]
    Progress(2, 0, {run.run_id: 1.0}, said.append).lost(run, "baseline", 1)
    assert said == [f"[0/2] 0:00, 1 running | baseline seed={run.seed}: its process died, and it starts again"]


def test_a_failure_takes_one_short_line() -> None:
    lines: list[str] = []
    run = make_plan().runs[0]
    shown = Progress(1, 0, {run.run_id: 1.0}, lines.append)
    shown.finished(run, "baseline", {"status": "failed", "error": "\x1b[2Jfirst\nsecond " + "x" * 3_000_000}, running=0)
    (line,) = lines
    assert "failed: first second xxx" in line
    assert line.isprintable()
    assert len(line) < 400
