"""Limits of a container, as the kernel's files say them."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray.driver import container, machine


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "max 1", "sys/fs/cgroup/a/cpu.max": "8 4"}, 2.0),
        ({"proc/self/cgroup": "0::/of/the/host", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4.0),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/pod",
                "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        ({}, None),
    ],
)
def test_processor_time(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    assert container.cpu_limit(_write(tmp_path, files)) == limit


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (
            {
                "proc/self/cgroup": "0::/pod",
                "sys/fs/cgroup/pod/memory.max": "1000",
                "sys/fs/cgroup/pod/memory.current": "900",
                "sys/fs/cgroup/pod/memory.stat": "anon 200\ninactive_file 300",
                "sys/fs/cgroup/memory.max": "max",
            },
            400,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/a",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1200",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "5",
            },
            0,
        ),
        ({"proc/self/cgroup": "0::/"}, None),
    ],
)
def test_memory(tmp_path: Path, files: dict[str, str], left: int | None) -> None:
    assert container.memory_left(_write(tmp_path, files)) == left


def test_a_sweep_counts_what_its_container_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for limit, cores in ((None, 8), (1.5, 1), (0.5, 1), (4.0, 4), (64.0, 8)):
        monkeypatch.setattr(container, "cpu_limit", lambda limit=limit: limit)
        assert machine.cores() == cores
    monkeypatch.setattr(container, "memory_left", lambda: 1 << 29)
    assert machine.memory_gib() == 0.5
