"""The main command as a user runs it, in processes of its own: real Ray, Tune, Train, TRL, vLLM and W&B."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from subnetray.store.results import sha256
from subnetray.subnetwork import Mask
from tests.foreground import in_foreground

pytestmark = pytest.mark.e2e

_ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def _command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "subnetray.sweep", *overrides]


def _sweep(*overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*overrides), env=_ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )


def _watched(
    command: list[str], due: Callable[[], bool] = lambda: False, end: Callable[[int], None] = lambda pid: None
) -> tuple[int, str]:
    """Run ``command`` in a group of its own, ``end`` it once that is ``due``: its exit code, and what it said.

    All processes that came of it must be gone soon after.
    """
    family: set[psutil.Process] = set()
    with tempfile.TemporaryFile("w+") as output:
        driver = subprocess.Popen(
            command,
            env=_ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=in_foreground,
        )
        deadline, ended = time.monotonic() + 600, False
        while driver.poll() is None:
            assert time.monotonic() < deadline
            with contextlib.suppress(psutil.NoSuchProcess):
                family.update(psutil.Process(driver.pid).children(recursive=True))
            if not ended and due():
                end(driver.pid)
                ended = True
            time.sleep(0.05)
        # Ray's processes notice that their driver is gone; the agents that would not for a minute are ended.
        _, alive = psutil.wait_procs(family, timeout=45)
        output.seek(0)
        said = output.read()
    assert len(family) > 3  # of Ray alone
    assert not alive, said
    return driver.returncode, said


def _rows(out: Path, table: str = "runs") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / f"{table}.parquet").to_pylist()
    return rows


def _files(out: Path) -> dict[str, str]:
    """The hash of every file of a sweep but those that hold times."""
    found = {path.relative_to(out): path for path in out.rglob("*") if path.is_file()}
    return {
        str(name): sha256(path)
        for name, path in sorted(found.items())
        if name.parts[0] != "wandb" and not name.name.startswith((".", "time."))
    }


def _finals(out: Path) -> dict[str, str]:
    return {row["run_id"]: row["final_hash"] for row in _rows(out)}


@pytest.fixture(scope="module")
def single(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """One run of the smoke sweep by itself: its directory, and the command, which runs while the sweep does."""
    out = tmp_path_factory.mktemp("train") / "run"
    words = ["algorithm=sft", "algorithm.lr=1e-4", "algorithm.steps=6", "algorithm.batch_size=32"]
    with subprocess.Popen(
        [sys.executable, "-m", "subnetray.train", *words, "evaluation.prompts=64", f"out={out}"],
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield out, process
        process.kill()


@pytest.fixture(scope="module")
def swept(tiny: Path, single: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke sweep."""
    out = tmp_path_factory.mktemp("sweep") / "smoke"
    code, said = _watched(_command("+grid=smoke", f"out={out}"))
    assert code == 0, said
    assert "6 runs done, 0 failed" in said
    return out


def test_all_results_are_there(swept: Path) -> None:
    rows = _rows(swept)
    assert [row["status"] for row in rows] == ["done"] * 6
    assert {(row["method"], row["learning_rate"]) for row in rows} == {
        (method, rate) for method in ("grpo", "sft_gold", "dpo_on_policy") for rate in ("1e-5", "1e-4")
    }
    assert all(0 < row["density_bitwise"] < 1 for row in rows)
    # The learning rate is the first cause of density.
    for method in ("grpo", "sft_gold", "dpo_on_policy"):
        low, high = (
            next(r["density_bitwise"] for r in rows if (r["method"], r["learning_rate"]) == (method, rate))
            for rate in ("1e-5", "1e-4")
        )
        assert low < high
    assert len(_rows(swept, "overlap")) == 15
    for row in rows:
        files = {path.name for path in (swept / "runs" / row["run_id"]).iterdir()}
        assert files == {
            *("config.yaml", "metrics.jsonl", "result.json", "mask.safetensors", "delta.safetensors"),
            *("time.json", "time.jsonl"),
        }
    report = (swept / "report.html").read_text()
    assert "sft_gold" in report
    # Phases of the sweep and of its runs, which make up all of the cores' time.
    assert "## Where the time went" in (swept / "time.md").read_text()
    assert "Where the time went" not in report
    spent = json.loads((swept / "time.json").read_text())
    assert set(spent["seconds"]) == {"prepare", "ray", "engines", "runs", "report"}
    assert spent["inits_cpu_s"] == 0  # it was there
    assert set(spent["runs"]) == {row["run_id"] for row in rows}


def test_one_run_by_itself_is_the_run_of_the_sweep(swept: Path, single: tuple[Path, subprocess.Popen[str]]) -> None:
    run = next(row for row in _rows(swept) if (row["method"], row["learning_rate"]) == ("sft_gold", "1e-4"))
    out, process = single
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert f"{run['density_bitwise']:.2%} of" in said
    assert _finals(out) == {run["run_id"]: run["final_hash"]}
    assert (out / "report.md").is_file()


def test_wandb_files_hold_every_run_and_the_sweep(swept: Path) -> None:
    names = {}
    for path in (swept / "wandb").glob("offline-run-*/*.wandb"):
        inspected = subprocess.run(
            [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", path],
            capture_output=True,
            text=True,
            check=True,
        )
        records = [json.loads(line) for line in inspected.stdout.splitlines()]
        run = next(record["run"] for record in records if record["type"] == "run")
        names[run["display_name"]] = (run, records)
    assert len(names) == 7
    # The ids are the runs' own, whatever else the sweep runs.
    assert {run["run_group"] for run, _ in names.values()} == {"smoke"}
    assert {run["run_id"] for run, _ in names.values()} == {"sweep-smoke", *(row["run_id"] for row in _rows(swept))}
    # What is installed is written down once.
    assert len(list((swept / "wandb").glob("offline-run-*/files/requirements.txt"))) == 1
    run, records = names["baseline seed=0"]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [item["step"] for item in history] == [1, 2, 3, 4, 5, 6]
    assert all("rollout/reward" in item and "update/density" in item for item in history)
    baseline = next(r for r in _rows(swept) if (r["method"], r["learning_rate"]) == ("grpo", "1e-5"))
    assert history[-1]["update/density"] == pytest.approx(baseline["density_bitwise"])
    assert run["config"]["update"]["algorithm"]["name"] == "grpo"
    assert any("overlap" in json.dumps(record) for record in names["smoke"][1] if record["type"] == "history")
    summary = [record["summary"] for record in names["smoke"][1] if record["type"] == "summary"]
    assert '"runs/done": 6' in json.dumps(summary)


def test_the_same_grid_again_does_nothing_and_says_so(swept: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (swept / "runs").rglob("*") if path.is_file()}
    again = _sweep("+grid=smoke", f"out={swept}")
    assert again.returncode == 0
    assert "all 6 runs are done: nothing to do" in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (swept / "runs").rglob("*") if path.is_file()}


def test_dry_run_lists_runs_what_is_cached_and_an_estimate(swept: Path) -> None:
    shown = _sweep("+grid=smoke", f"out={swept}", "dry_run=true")
    assert shown.returncode == 0
    assert "6 runs, 6 done, 0 to do" in shown.stdout
    beside = _sweep("+grid=smoke", f"out={swept}-other", "dry_run=true")
    assert "6 runs, 6 done, 0 to do" in beside.stdout
    assert f", in {swept}/runs/" in beside.stdout
    fresh = _sweep("+grid=smoke", f"out={swept}-other/smoke", "dry_run=true")
    assert "6 runs, 0 done, 6 to do" in fresh.stdout
    assert "estimate: " in fresh.stdout
    assert not Path(f"{swept}-other").exists()


def test_a_sweep_beside_one_that_is_done_takes_its_runs_over_and_grows(swept: Path, tmp_path: Path) -> None:
    """Ray is not started for runs that are done: it takes seconds. One more level is one more run a method."""
    out = swept.parent / "again"
    taken = _sweep("+grid=smoke", f"out={out}", "tracking=disabled")
    assert taken.returncode == 0, taken.stderr
    assert "6 runs are done already and are taken over" in taken.stdout
    assert "starting the rollout engines" not in taken.stdout
    assert _files(out) == _files(swept)
    grown = _sweep("+grid=smoke", f"out={out}", "tracking=disabled", "grid.seeds=[0,1]", "dry_run=true")
    assert "12 runs, 6 done, 6 to do" in grown.stdout
    shutil.rmtree(out)  # what is beside is found by other tests


def _kill_when(overrides: Sequence[str], started: Callable[[], bool]) -> None:
    """Start a sweep and kill its driver with SIGKILL as soon as ``started`` says so."""
    code, said = _watched(_command(*overrides), started, lambda pid: os.kill(pid, signal.SIGKILL))
    assert code == -signal.SIGKILL, said


def test_a_sweep_that_is_ended_leaves_no_process_and_resumes_to_the_same_bytes(swept: Path, tmp_path: Path) -> None:
    """By Ctrl-C, which a terminal sends to all processes of its group, then by SIGKILL."""
    out = tmp_path / "ended"
    words = ("+grid=smoke", f"out={out}", "tracking=disabled")

    def results() -> int:
        return len(list(out.glob("runs/*/result.json")))

    code, said = _watched(_command(*words), lambda: results() > 0, lambda pid: os.killpg(pid, signal.SIGINT))
    assert code == 130, said
    assert 0 < results() < 6
    assert "are left, and the same command goes on with them" in said
    before = results()
    ended = time.time()
    # At a step, not at the end of a run: all of these short runs may have ended by the time that one is seen to.
    _kill_when(words, lambda: any(p.stat().st_mtime > ended for p in out.glob("runs/*/metrics.jsonl")))
    assert before <= results() < 6
    resumed = _sweep(*words, "resume=must")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "of 6 runs to do" in resumed.stdout
    assert _files(out) == _files(swept)


# In arms of an SFT run of the smoke grid, and of one that diverges.
_ARMS = """# @package grid
name: arms
overrides: [algorithm=sft, algorithm.lr=1e-4, algorithm.steps=6, algorithm.batch_size=32, evaluation.prompts=64]
factors:
  mask:
    baseline: random
    levels:
      random: [subnetwork.mask=random]
      of_nothing: [subnetwork.mask=oracle, "subnetwork.source=['algorithm.lr=1e30']"]
one_at_a_time: [mask]
"""


def test_a_sweep_that_is_killed_while_runs_wait_for_their_mask_resumes_to_the_same_bytes(
    swept: Path, tmp_path: Path
) -> None:
    """... as those of a run beside the smoke sweep, which has its mask from there. Where a source fails, so do they."""
    (tmp_path / "conf" / "grid").mkdir(parents=True)
    (tmp_path / "conf" / "grid" / "arms.yaml").write_text(_ARMS)
    out, beside = tmp_path / "killed", swept.parent / "restricted"
    source = next(r for r in _rows(swept) if (r["method"], r["learning_rate"]) == ("sft_gold", "1e-4"))["run_id"]
    words = ["algorithm=sft", "algorithm.lr=1e-4", "algorithm.steps=6", "algorithm.batch_size=32"]
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "subnetray.train", *words, "evaluation.prompts=64", "subnetwork.mask=random"),
            *(f"out={beside}", "tracking=disabled"),
        ],
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as undisturbed:
        sweep = (f"--config-dir={tmp_path / 'conf'}", "+grid=arms", f"out={out}", "tracking=disabled")
        _kill_when(sweep, (out / "runs" / source / "metrics.jsonl").exists)
        assert not (out / "runs" / source / "result.json").exists()
        said, _ = undisturbed.communicate(timeout=600)
        assert undisturbed.returncode == 0, said
        assert "1 of 1 runs to do" in said
    (reference,) = _rows(beside)
    assert not (out / "runs" / reference["run_id"]).exists()  # it waited for the source
    resumed = _sweep(*sweep, "resume=must")
    assert resumed.returncode == 1, resumed.stdout + resumed.stderr
    assert "4 of 4 runs to do" in resumed.stdout
    random, of_nothing = _rows(out)
    compared = ("run_id", "final_hash", "arm", "source", "budget", "distance_to_source", "equal_1e-05", "bound_1e-05")
    assert [random[name] for name in compared] == [reference[name] for name in compared]
    assert (random["source"], random["arm"]) == (source, "random")
    assert 0 < random["distance_to_source"] < 1.5
    assert 0 <= random["bound_1e-05"] <= random["equal_1e-05"] < 1
    used = Mask.load(out / "runs" / random["run_id"] / "restriction.safetensors")
    found = Mask.load(out / "runs" / source / "mask.safetensors")
    final = Mask.load(out / "runs" / random["run_id"] / "mask.safetensors")
    assert used.k == found.k == round(random["budget"] * used.n)
    assert 0 < final.k == (final & used).k
    assert (of_nothing["status"], of_nothing["final_hash"]) == ("failed", None)
    assert re.fullmatch(r"its mask is that of run [0-9a-f]{12}, which failed: .* at step \d.*", of_nothing["error"])
    failed = {path.name for path in (out / "runs" / of_nothing["run_id"]).iterdir()}
    assert failed == {"config.yaml", "result.json"}
