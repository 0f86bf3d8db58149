"""A driver's private directory is private, short, and gone with it; others' are left alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from subnetray.driver.background import StartError
from subnetray.driver.session.scratch import Scratch, of_ray, remove_stale


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's temporary directory, on a path that is short enough."""
    base = Path("/tmp") / f"t{os.getpid()}"
    base.mkdir()
    monkeypatch.setenv("TMPDIR", str(base))
    monkeypatch.setattr("subnetray.driver.session.scratch._SHORT", ())
    yield base
    subprocess.run(["rm", "-r", base], check=True)


def test_nobody_else_may_look_into_it_and_it_is_removed(base: Path) -> None:
    scratch = Scratch()
    assert scratch.path.parent == base
    assert scratch.path.stat().st_mode & 0o777 == 0o700
    (scratch.path / "deep" / "er").mkdir(parents=True)
    scratch.close()
    assert list(base.iterdir()) == []


def test_sockets_fit_into_the_longest_that_is_taken(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    length = next(length for length in range(60, 0, -1) if _taken(base, length, monkeypatch))
    monkeypatch.setenv("TMPDIR", str(base / ("x" * length)))
    scratch = Scratch()
    place = of_ray(scratch.path) / "session_2026-01-01_00-00-00_000000_4194304" / "sockets" / "plasma_store.0"
    place.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
    scratch.close()


def _taken(base: Path, length: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    (base / ("x" * length)).mkdir()
    monkeypatch.setenv("TMPDIR", str(base / ("x" * length)))
    try:
        Scratch().close()
    except StartError:
        return False
    return True


def test_where_their_paths_would_be_too_long_it_is_elsewhere(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    with pytest.raises(
        StartError, match=r"^no directory .* \(.*xxx is too long for the paths of sockets\): set TMPDIR"
    ):
        Scratch()
    monkeypatch.setattr("subnetray.driver.session.scratch._SHORT", (str(base / "missing"), str(base)))
    scratch = Scratch()
    assert scratch.path.parent == base
    scratch.close()


_HOLDER = """
import time
from subnetray.driver.session.scratch import Scratch
print(Scratch().path, flush=True)
time.sleep(600)
"""


def test_what_a_driver_that_was_killed_has_left_is_removed_and_nothing_else(base: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    path = Path(holder.stdout.readline().strip())
    try:
        uid = os.getuid()
        others = [f"subnetray-{uid + 1}-abcdefgh", "subnetray-abcdefgh", f"subnetray-{uid}-abcdefgh-mine", "ray"]
        for name in others:
            (base / name).mkdir()
        (base / f"subnetray-{uid}-linked00").symlink_to(base / "ray")
        young, old = (base / f"subnetray-{uid}-{name}" for name in ("without0", "without1"))
        young.mkdir()
        old.mkdir()
        os.utime(old, (time.time() - 3600,) * 2)
        kept = {*others, f"subnetray-{uid}-linked00", young.name}
        remove_stale()
        assert {entry.name for entry in base.iterdir()} == kept | {path.name}
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    remove_stale()
    assert {entry.name for entry in base.iterdir()} == kept
