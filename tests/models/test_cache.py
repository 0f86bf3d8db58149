"""Directories that are made once: whole or not at all, however many processes ask."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from subnetray.config import ConfigError
from subnetray.models.cache import make_once
from subnetray.places import default_cache


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    calls: list[Path] = []

    def build(out: Path) -> None:
        calls.append(out)
        (out / "file").write_text("content")

    path = tmp_path / "deep" / "model"
    assert make_once(path, build) == make_once(path, build) == path
    assert len(calls) == 1
    assert (path / "file").read_text() == "content"
    assert [entry.name for entry in path.parent.iterdir()] == ["model"]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def build(out: Path) -> None:
        (out / "half").write_text("x")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match=r"^stop$"):
        make_once(tmp_path / "model", build)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_has_left_goes_with_the_next_and_what_goes_on_stays(tmp_path: Path) -> None:
    killed, going_on, begun, other = (tmp_path / f".{name}" for name in ("model.1", "model.2", "model.3", "models.1"))
    for directory in (killed, going_on, begun, other):
        directory.mkdir()
        (directory / "half").write_text("x")
        if directory != begun:
            os.utime(directory, (0, 0))
    handle = os.open(going_on, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        make_once(tmp_path / "model", lambda out: None)
    finally:
        os.close(handle)
    assert {path.name for path in tmp_path.iterdir()} == {"model", going_on.name, begun.name, other.name}


def test_a_build_has_the_lock_of_its_directory(tmp_path: Path) -> None:
    def build(out: Path) -> None:
        handle = os.open(out, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)

    make_once(tmp_path / "model", build)


def test_nothing_is_visible_before_the_build_ends(tmp_path: Path) -> None:
    path = tmp_path / "model"

    def build(out: Path) -> None:
        (out / "file").write_text("x")
        assert not path.exists()

    make_once(path, build)
    assert path.is_dir()


def test_files_can_be_read_by_whoever_can_read_the_directory(tmp_path: Path) -> None:
    def build(out: Path) -> None:
        (out / "file").write_text("x")
        (out / "file").chmod(0o600)

    path = make_once(tmp_path / "model", build)
    assert stat.S_IMODE((path / "file").stat().st_mode) == stat.S_IMODE(path.stat().st_mode) & 0o666


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(ConfigError, match=r"^the cache .*/file must be writable \(.*\): choose another with cache="):
        make_once(tmp_path / "file" / "model", lambda out: None)


def _ask(path: Path, name: str, together: object) -> None:
    together.wait()  # type: ignore[attr-defined]

    def build(out: Path) -> None:
        for index in range(50):
            (out / f"{index}").write_text(name)

    make_once(path, build)
    # Whoever was first: the directory is whole, and all of it is of one build.
    assert len({file.read_text() for file in path.iterdir()}) == 1
    assert len(list(path.iterdir())) == 50


def test_processes_that_ask_at_once_get_one_whole_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(4)
    processes = [context.Process(target=_ask, args=(tmp_path / "model", f"{n}", together)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_the_cache_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SUBNETRAY_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == tmp_path / ".cache" / "subnetray"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "subnetray"
    monkeypatch.setenv("SUBNETRAY_CACHE", "~/mine")
    assert default_cache() == tmp_path / "mine"
