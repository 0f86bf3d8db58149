"""Processes that compute are told about threads and memory, and the user has the last word."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from subnetray.process.environment import computing, forget_launcher


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    found = computing()
    assert found["OMP_NUM_THREADS"] == "3"
    assert int(found["MALLOC_TRIM_THRESHOLD_"]) > int(found["MALLOC_MMAP_THRESHOLD_"])


_THREADS = """
import threading
import psutil

def grown() -> None:
    done, end = threading.Event(), threading.Event()
    def work() -> None:
        for _ in range(20):  # pieces that are no maps of their own
            kept.append(bytearray(1 << 20))
        kept.clear()
        done.set()
        end.wait()
    kept = []
    threading.Thread(target=work, daemon=True).start()
    done.wait()

grown()
before = psutil.Process().memory_info().rss
for _ in range(4):
    grown()
print(psutil.Process().memory_info().rss - before)
"""


def test_what_threads_have_let_go_of_is_there_for_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in computing():
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-c", _THREADS]
    done = subprocess.run(command, env=os.environ | computing(), check=True, capture_output=True, text=True)
    assert int(done.stdout) < 10 << 20


_LEFT = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
    *("TORCHELASTIC_RUN_ID", "PET_NNODES", "ACCELERATE_USE_FSDP", "FSDP_VERSION", "DEEPSPEED_ZERO_STAGE"),
    *("OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMIX_NAMESPACE", "MV2_COMM_WORLD_RANK"),
)
_KEPT = ("CUDA_VISIBLE_DEVICES", "SLURM_PROCID", "NCCL_DEBUG", "OMP_NUM_THREADS", "MY_RANK", "RANKED")


def test_what_a_launcher_left_is_dropped_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_LEFT, *_KEPT):
        monkeypatch.setenv(name, "0")
    forget_launcher()

    assert [name for name in _LEFT if name in os.environ] == []
    assert [name for name in _KEPT if name not in os.environ] == []
