"""A W&B server that works, and the ways in which one does not: what it does not take is kept offline."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from subnetray.config import Tracking
from subnetray.driver.tracking import RunFiles, Tracker
from subnetray.driver.tracking.records import sweep_id
from subnetray.reporting.findings import Findings
from tests.driver.tracked import files, label, offline, row, sweep_plan, track, write_steps
from tests.driver.wandb_server import KEY, Server

RUNS = sweep_plan().runs[:3]

Serve = Callable[..., Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server, and makes it the one that is logged to."""
    servers: list[Server] = []

    def start(fault: int | str | None = None, after: int = 0) -> Server:
        server = Server(fault, after)
        servers.append(server)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test what a server is sent, and not how long a busy machine may take to send it."""
    monkeypatch.setattr("subnetray.driver.tracking.patience.TOTAL_S", 180.0)
    monkeypatch.setattr("subnetray.driver.tracking.patience._SERVER_S", 120.0)


def _until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("_patient")
def test_every_step_is_on_the_server_once_over_two_invocations(serve: Serve, tmp_path: Path) -> None:
    """The first is interrupted between two steps, and its run is started again from its first step."""
    server = serve()
    out = tmp_path / "grown"
    run, other = RUNS[:2]
    first = Tracker(Tracking(mode="online"), sweep_plan(), out, print)
    path = write_steps(out, run, range(1, 8))

    def followed() -> bool:
        first.follow(run, label(run), RunFiles(path.parent))
        return run.run_id in server.runs and len(server.runs[run.run_id].lines) == 6

    _until(followed)  # all but the newest
    first.close(Findings)
    write_steps(out, run, range(1, 4))
    second = Tracker(Tracking(mode="online"), sweep_plan(), out, print)
    second.follow(run, label(run), RunFiles(path.parent))
    write_steps(out, run, range(1, 11))
    write_steps(out, other, range(1, 3))
    for each in (run, other):
        second.finish(each, label(each), files(out, each), row(each))
    assert second.close(lambda: Findings({"runs/done": 2})) == f"W&B: {server.url}/tester/subnetray/runs/sweep-grown"
    stored = server.runs[run.run_id]
    assert set(server.runs) == {run.run_id, other.run_id, "sweep-grown"}
    assert stored.steps == list(range(1, 11))
    assert server.runs[other.run_id].steps == [1, 2]
    assert {each.group for each in server.runs.values()} == {"grown"}
    assert (stored.summary["final/density_bitwise"], stored.exit_code) == (0.25, 0)
    assert stored.config["factor/method"] == run.cell["method"]
    assert server.runs["sweep-grown"].summary["runs/done"] == 2
    assert not offline(out)
    # Nothing is asked of it for what it has, also where the note of that is gone.
    asked = server.asked.total()
    third = Tracker(Tracking(mode="online"), sweep_plan(), out, print)
    third.finish(run, label(run), RunFiles(path.parent), row(run))
    assert server.asked.total() == asked
    (out / "wandb" / "logged.json").write_text('{"')
    write_steps(out, other, range(1, 4), loss=7)  # it ran again, and otherwise
    fourth = Tracker(Tracking(mode="online"), sweep_plan(), out, print)
    fourth.finish(run, label(run), RunFiles(path.parent), row(run))
    fourth.close(lambda: Findings({"runs/done": 2}))
    assert stored.steps == list(range(1, 11))
    assert server.asked.total() > asked


@pytest.mark.usefixtures("_patient")
def test_a_server_is_told_what_a_run_used_and_what_it_made(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    run = RUNS[0]
    write_steps(tmp_path, run, [1])
    for name in ("mask", "delta"):
        (files(tmp_path, run).directory / f"{name}.safetensors").write_bytes(name.encode())
    tracker = Tracker(Tracking(mode="online"), sweep_plan(), tmp_path, print)
    tracker.finish(run, label(run), files(tmp_path, run), row(run, init_hash="a" * 32))
    tracker.close(Findings)
    assert (server.asked["CreateArtifact"], server.asked["UseArtifact"]) == (3, 1)
    assert server.runs[run.run_id].exit_code == 0
    assert not server.files or all(content != b"mask" for content in server.files.values())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("silent", "it does not answer"),
        ("gone", "it does not answer"),
        (500, "it does not answer"),
        (401, "the server answered 401"),
        (403, "the server answered 403"),
    ],
)
def test_a_server_that_fails_costs_ten_seconds_and_one_sentence(
    fault: int | str, reason: str, serve: Serve, tmp_path: Path
) -> None:
    server = serve(fault)
    for run in RUNS:
        write_steps(tmp_path, run, range(1, 4))
    said: list[str] = []
    tracker = Tracker(Tracking(mode="online"), sweep_plan(), tmp_path, said.append)
    begun = time.monotonic()
    for run in RUNS:
        tracker.follow(run, label(run), files(tmp_path, run))
        tracker.finish(run, label(run), files(tmp_path, run), row(run))
    assert time.monotonic() - begun < 1
    tracker.close(lambda: Findings({"runs/done": 3}))
    # Ten seconds in vain, and the work of starting two processes and writing, on a busy machine too: W&B takes 90.
    assert time.monotonic() - begun < 40
    found = offline(tmp_path)
    assert set(found) == {*(run.run_id for run in RUNS), sweep_id(tmp_path.name)}
    assert all(found[run.run_id].steps == [1, 2, 3] for run in RUNS)
    (sentence,) = said
    assert sentence.startswith(f"W&B at {server.url.removeprefix('http://')} did not take everything (")
    assert reason in sentence
    assert sentence.endswith(f"is kept in {tmp_path}/wandb: wandb sync {tmp_path}/wandb/offline-run-*")
    assert KEY not in sentence
    assert not [child for child in psutil.Process().children(recursive=True) if "wandb" in child.name()]


@pytest.mark.parametrize("fault", ["silent", "gone", 401])
def test_what_a_server_that_dies_half_way_did_not_take_is_uploaded_later(
    fault: int | str, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... by ``wandb sync``, or by the same command: every step is on the server once."""
    # A server has its six seconds; how long a busy machine may write what it did not take is not tested here.
    monkeypatch.setattr("subnetray.driver.tracking.patience.TOTAL_S", 180.0)
    server = serve(fault, after=4)
    run, other = RUNS[:2]
    said: list[str] = []
    tracker = Tracker(Tracking(mode="online"), sweep_plan(), tmp_path, said.append)
    path = write_steps(tmp_path, run, range(1, 6))

    def taken() -> bool:
        tracker.follow(run, label(run), RunFiles(path.parent))
        return run.run_id in server.runs and len(server.runs[run.run_id].lines) == 4

    _until(taken)
    assert server.failing
    write_steps(tmp_path, run, range(1, 10))
    write_steps(tmp_path, other, range(1, 3))
    for each in (run, other):
        tracker.finish(each, label(each), files(tmp_path, each), row(each))
    tracker.close(lambda: Findings({"runs/done": 2}))
    assert len(said) == 1
    found = offline(tmp_path)
    assert set(found) == {run.run_id, other.run_id, sweep_id(tmp_path.name)}
    assert found[run.run_id].steps == list(range(1, 10))
    server.fault = None
    if fault == "silent":
        subprocess.run(
            [Path(sys.executable).with_name("wandb"), "sync", *(str(kept.directory) for kept in found.values())],
            check=True,
            timeout=120,
            capture_output=True,
        )
    else:
        # On a busy machine its patience may end before this server has its turn, and it is sent the next time.
        for _ in range(3):
            track(tmp_path, [run, other], mode="online")
            if not offline(tmp_path):
                break
        assert not offline(tmp_path)
    assert server.runs[run.run_id].steps == list(range(1, 10))
    assert server.runs[other.run_id].steps == [1, 2]
    # Either way there is nothing left to send.
    asked = server.asked.total()
    if fault == "silent":
        again = Tracker(Tracking(mode="online"), sweep_plan(), tmp_path, said.append)
        again.finish(run, label(run), RunFiles(path.parent), row(run))
        again.finish(other, label(other), files(tmp_path, other), row(other))
        assert server.asked.total() == asked
