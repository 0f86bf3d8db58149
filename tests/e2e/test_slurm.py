"""The script for Slurm, with stand-ins for Slurm's own commands: real Ray, as the script starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

import subnetray
from tests.foreground import in_foreground

ROOT = Path(subnetray.__file__).parents[1]
SCRIPT = ROOT / "sweeps" / "slurm" / "sweep.sbatch"

# Runs what it is given on this machine, without its own options.
_SRUN = '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n'
# Queues a job again as Slurm does: its steps end.
_SCONTROL = """#!/bin/bash
case "$1" in
  show) echo "$3" ;;
  requeue) echo "$2" >> "$HOME/requeued"; kill "$(cat "$HOME/step")" ;;
esac
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with Slurm's commands in ``bin``. Its path is short: Ray makes sockets in it."""
    with tempfile.TemporaryDirectory(prefix="l", dir="/tmp") as directory:
        (Path(directory) / "bin").mkdir()
        _write(Path(directory) / "bin" / "srun", _SRUN)
        _write(Path(directory) / "bin" / "scontrol", _SCONTROL)
        yield Path(directory)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _environment(home: Path) -> dict[str, str]:
    bins = f"{home / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    nodes = {"SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2"}
    return os.environ | nodes | {"SLURM_JOB_ID": str(os.getpid()), "HOME": str(home), "PATH": bins}


@pytest.mark.e2e
def test_a_sweep_runs_on_the_nodes_of_a_job_and_leaves_neither_ray_nor_the_token(
    tiny: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["algorithm=sft", "algorithm.steps=2", "algorithm.batch_size=8", "evaluation.prompts=8"]
    job = psutil.Popen(
        ["bash", SCRIPT, "+grid=single", *words, "tracking=disabled", f"out={out}", f"cache={tiny.parents[1]}"],
        env=_environment(home) | {"RAY_TMPDIR": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=in_foreground,
    )
    said, _ = job.communicate(timeout=600)
    assert job.returncode == 0, said
    assert pq.read_table(out / "runs.parquet")["status"].to_pylist() == ["done"]
    assert not [*home.glob(".subnetray-*")]
    assert not [each for each in psutil.process_iter(["environ"]) if _of(each, home)]


def _of(process: psutil.Process, home: Path) -> bool:
    return (process.info["environ"] or {}).get("RAY_TMPDIR") == str(home) and process.status() != psutil.STATUS_ZOMBIE


# Steps that do nothing; the one of the sweep says who it is.
_SLEEPING = """#!/bin/bash
case "$*" in
  *hostname*) echo 127.0.0.1; exit ;;
  *subnetray.sweep*) echo $$ > "$HOME/step" ;;
esac
exec sleep 60
"""


@pytest.fixture
def listening() -> Iterator[int]:
    """The number of a job on whose port of Ray somebody listens."""
    for number in range(os.getpid(), os.getpid() + 100):
        with socket.socket() as server, contextlib.suppress(OSError):
            server.bind(("127.0.0.1", 20_000 + number % 10_000))
            server.listen()
            yield number
            return


def test_a_job_whose_time_is_over_is_queued_again(home: Path, listening: int) -> None:
    """... and its step ends, with whose exit code the job does."""
    _write(home / "bin" / "srun", _SLEEPING)
    job = subprocess.Popen(
        ["bash", SCRIPT, "+grid=smoke"],
        env=_environment(home) | {"SLURM_JOB_ID": str(listening)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not (home / "step").exists() or not (home / "step").read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (token,) = home.glob(".subnetray-*")
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        job.send_signal(signal.SIGUSR1)
        said, _ = job.communicate(timeout=30)
    finally:
        job.kill()
    assert job.returncode == 128 + signal.SIGTERM
    assert "queued again" in said
    assert (home / "requeued").read_text().split() == [str(listening)]
    assert not [*home.glob(".subnetray-*")]
