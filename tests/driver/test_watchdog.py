"""What a process has started ends with it, and nothing else does."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

# Starts a process that would outlive it, has it watched, starts another, says both pids and waits for a line.
_DRIVER = """
import subprocess, sys
from subnetray.driver import watchdog
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
watched = subprocess.Popen(sleep, start_new_session=True)
watchdog.watch()
print(watched.pid, subprocess.Popen(sleep, start_new_session=True).pid, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["exit", "SIGKILL", "SIGTERM"])
def test_what_was_watched_ends_with_the_driver(end: str) -> None:
    driver = subprocess.Popen([sys.executable, "-c", _DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdin is not None
    assert driver.stdout is not None
    watched, other = (psutil.Process(int(pid)) for pid in driver.stdout.readline().split())
    try:
        assert watched.is_running()
        if end == "exit":
            driver.stdin.write("\n")
            driver.stdin.close()
        else:
            driver.send_signal(signal.Signals[end])
        driver.wait()
        _, alive = psutil.wait_procs([watched], timeout=60)
        assert not alive
        assert other.is_running()
    finally:
        other.kill()
