"""Read what a container may use of its machine: limits of control groups, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60  # version 1 has no word for it, but a number as large as a page allows


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that this process may use, or None without a limit; ``root`` holds proc and sys."""
    limits = []
    for group in _groups(root, "cpu"):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        limits.append((quota, period))
        limits.append((_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")))
    found = [int(quota) / int(period) for quota, period in limits if quota.isdigit() and period.isdigit()]
    return min(found, default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take, or None without a limit; what caches of files hold can be taken."""
    found = []
    for group in _groups(root, "memory"):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, now = _text(group / limit), _text(group / used)
            if most.isdigit() and now.isdigit() and int(most) < _UNLIMITED:
                stat = dict(
                    line.split() for line in _text(group / "memory.stat").splitlines() if len(line.split()) == 2
                )
                found.append(max(0, int(most) - int(now) + int(stat.get(cached, 0))))
    return min(found, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The directories of the groups that this process is in, and of those that contain them."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        places = (f"sys/fs/cgroup/{names}", f"sys/fs/cgroup/{controller}") if names else ("sys/fs/cgroup",)
        for place in places:
            base = root / place
            group = base / path.lstrip("/")
            # A container may see its group as the uppermost, and be told of it by the path that the host knows.
            yield from (each for each in (group, *group.parents) if each.is_relative_to(base) and each.is_dir())


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
