"""What a driver has started ends with it, at whatever moment that is, and nothing else does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

# Says where its session is and which processes it has started: one in a session of its own, and one of this one's,
# which is nobody's child soon; then waits for a line.
_DRIVER = """
import subprocess, sys
from subnetray.driver.session import session
sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
parent = [sys.executable, "-c", "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], stdout=-3).pid)", *sleep]
with session.entered(local=True) as directory:
    own = subprocess.Popen(sleep, start_new_session=True, stdout=-1)
    own.stdout.readline()
    orphan = subprocess.run(parent, stdout=-1, text=True).stdout.strip()
    print(directory, own.pid, orphan, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    process = psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("end", ["exit", "SIGKILL", "SIGTERM"])
def test_what_a_driver_has_started_ends_with_it_and_its_directory_too(end: str, bystander: psutil.Process) -> None:
    driver = subprocess.Popen([sys.executable, "-c", _DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdin is not None
    assert driver.stdout is not None
    directory, *pids = driver.stdout.readline().split()
    started = [psutil.Process(int(pid)) for pid in pids]
    assert all(process.is_running() for process in started)
    assert Path(directory).is_dir()
    if end == "exit":
        driver.stdin.write("\n")
        driver.stdin.close()
    else:
        driver.send_signal(signal.Signals[end])
    driver.wait()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive
    assert bystander.is_running()
    watchdogs = [process for process in psutil.process_iter() if directory in _command(process)]
    psutil.wait_procs(watchdogs, timeout=5)
    assert not Path(directory).exists()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
