"""Directories that cannot be written to, and what errors of disks say to a person."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from subnetray.files import write_atomic
from subnetray.places import existing, explain, free_bytes, hub_cache, unwritable
from tests.read_only import read_only


def test_what_is_not_there_yet_can_be_written_where_the_nearest_directory_can(tmp_path: Path) -> None:
    assert unwritable(tmp_path / "a" / "b" / "c") is None
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert free_bytes(tmp_path / "a" / "b") > 0
    assert list(tmp_path.iterdir()) == []


def test_why_a_place_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert unwritable(tmp_path / "file" / "a") == f"{tmp_path}/file is no directory"
    assert unwritable(tmp_path / "dangling") == f"{tmp_path}/dangling is no directory"
    assert "is longer than the" in str(unwritable(tmp_path / ("x" * 300)))
    with read_only(tmp_path / "sealed"):
        assert f"{tmp_path}/sealed" in str(unwritable(tmp_path / "sealed" / "a" / "b"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "its file system is mounted read-only: choose another directory with out="),
        (errno.EACCES, "is refused to this user: change its permissions, or choose another directory with out="),
        (errno.ENOSPC, "no space or no inode is left on its disk: free some, or choose"),
        (errno.EDQUOT, "this user's disk quota is used up"),
        (errno.EIO, "its disk or server fails"),
        (errno.EMFILE, "too many files are open: allow more"),
        (errno.ENOTDIR, "cannot be read or written: Not a directory"),
    ],
)
def test_an_error_of_a_disk_is_one_sentence_with_its_path_and_a_remedy(number: int, words: str) -> None:
    error = OSError(number, os.strerror(number), "/data/sweep/runs/a")
    sentence = explain(error, out=Path("/data/sweep"))
    assert sentence.startswith("/data/sweep/runs/a ")
    assert words in sentence
    assert len(sentence.splitlines()) == 1


def test_the_remedy_names_the_key_of_the_directory_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def remedy(path: str) -> str:
        error = OSError(errno.ENOSPC, "full", path)
        return explain(error, out=Path("/data/sweep"), cache=Path("/home/me/cache")).rpartition(" ")[2]

    monkeypatch.setattr("tempfile.tempdir", "/scratch")
    assert remedy("/data/sweep/runs.parquet") == "out="
    assert remedy("/home/me/cache/models/x") == "cache="
    assert remedy("/scratch/ray/x") == "TMPDIR"


def test_a_full_disk_is_reported_with_the_file_that_was_written() -> None:
    # /dev/full fails as a full disk does, in write(), whose error names no file.
    with pytest.raises(OSError, match="No space left") as caught, Path("/dev/full").open("w") as file:
        file.write("x")
    assert "a file cannot be written: no space" in explain(caught.value)


def test_atomic_writes_name_the_file_in_errors_that_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(tmp_path / "result.json", "{}")
    assert caught.value.filename == str(tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_the_hub_s_cache_is_where_its_own_library_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        if name not in os.environ:
            monkeypatch.delenv(name, raising=False)
    assert hub_cache() == Path(constants.HF_HUB_CACHE)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert hub_cache() == tmp_path / "hub"
