"""What is done to a file is what is said of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.damages import cut, empty, flip, remove


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of 100 bytes."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    return path


def test_one_bit_is_flipped_and_the_time_is_kept(file: Path) -> None:
    before = file.stat().st_mtime_ns
    said = flip(file, random.Random(0))
    assert "was flipped" in said
    assert sum(byte.bit_count() for byte in file.read_bytes()) == 1
    assert file.stat().st_mtime_ns == before


def test_a_file_that_is_cut_is_shorter_and_not_empty(file: Path) -> None:
    for seed in range(20):
        cut(file, random.Random(seed))
        if file.stat().st_size == 1:
            break
        assert 0 < file.stat().st_size < 100


def test_a_file_is_emptied_or_removed(file: Path) -> None:
    assert empty(file, random.Random(0)) == "was emptied"
    assert file.stat().st_size == 0
    remove(file, random.Random(0))
    assert not file.exists()
