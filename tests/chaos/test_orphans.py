"""Every process that came of a command is found, wherever it went."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable

from tests.chaos.orphans import Family, end, environment

# A child that leaves its parent, and a grandchild that gives itself a title, and so has no environment left to see.
_PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
time.sleep({seconds})
"""
_CHILD = """
import setproctitle, time
setproctitle.setproctitle("ray::ImplicitFunc.train()" + " " * 4000)
time.sleep(60)
"""


def _until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_whose_parent_is_gone_and_that_has_another_title_is_an_orphan_and_is_ended() -> None:
    mark = uuid.uuid4().hex
    command = [sys.executable, "-c", _PARENT.format(child=_CHILD, seconds=2)]
    with subprocess.Popen(command, env=environment(mark)) as parent, Family(parent.pid, mark) as family:
        _until(lambda: family.named("ray::ImplicitFunc"))
        parent.wait()
        (orphan,) = family.alive()
        (said,) = family.outlive(0.2)
        assert "ray::ImplicitFunc" in said
        assert not orphan.is_running() or orphan.status() == "zombie"
        assert family.outlive(0.2) == []


def test_a_process_that_is_found_late_is_known_by_its_environment() -> None:
    mark = uuid.uuid4().hex
    late = f"import subprocess; subprocess.Popen({['sleep', '60']!r}, start_new_session=True)"
    with subprocess.Popen([sys.executable, "-c", late], env=environment(mark)) as parent:
        parent.wait()
    family = Family(parent.pid, mark)
    deadline = time.monotonic() + 10
    while not family.alive() and time.monotonic() < deadline:  # while it becomes sleep it has no environment
        family.look()
    assert [process.name() for process in family.alive()] == ["sleep"]
    assert len(family.outlive(0.1)) == 1


def test_a_command_that_leaves_nothing_has_no_orphans_and_strangers_are_none() -> None:
    mark = uuid.uuid4().hex
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        with subprocess.Popen(["sleep", "0.2"], env=environment(mark)) as process, Family(process.pid, mark) as family:
            process.wait()
            assert family.outlive(5) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_processes_end_when_told_by_their_family_alone() -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(["sleep", "60"], env=environment(mark)) as process:
        family = Family(process.pid, mark)
        end(family.alive())
        assert process.wait() == -9
