"""Files written past the page cache, in pieces: the bytes are those given, whatever the system can and refuses."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from subnetray.subnetwork.files import direct_write
from subnetray.subnetwork.files.direct_write import Output, Run

DATA = np.random.default_rng(0).integers(0, 256, 70_000, np.uint8)


def _written(path: Path, sizes: list[int], start: int) -> bytes:
    path.touch()
    with ThreadPoolExecutor(1) as thread, closing(Output(path, thread)) as out:
        run, at = Run(out), start
        for size in sizes:
            run.write(DATA[at - start : at - start + size], at)
            at += size
        run.finish()
    return path.read_bytes()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_write, "_PIECE", 4 * 4096)


@pytest.mark.parametrize("start", [0, 1, 4095, 4096, 5000])
@pytest.mark.parametrize("sizes", [[0], [1], [4096], [100, 16384, 3], [70_000], [30_000, 1, 39_999], [8192] * 8])
def test_bytes_are_where_they_belong(tmp_path: Path, start: int, sizes: list[int]) -> None:
    expected = bytes(start if sum(sizes) else 0) + DATA[: sum(sizes)].tobytes()
    assert _written(tmp_path / "file", sizes, start) == expected


def test_several_runs_of_a_file_meet_within_a_page(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with ThreadPoolExecutor(1) as thread, closing(Output(path, thread)) as out:
        one, two = Run(out), Run(out)
        for first in range(0, 30_000, 1000):  # in turn
            one.write(DATA[first : first + 1000], 17 + first)
            two.write(DATA[30_000 + first :][:1000], 30_017 + first)
        one.finish()
        two.write(DATA[60_000:60_017], 0)  # the beginning comes last
        two.finish()
    assert path.read_bytes() == DATA[60_000:60_017].tobytes() + DATA[:60_000].tobytes()


@pytest.mark.parametrize("refused", ["open", "write"])
def test_file_systems_that_only_write_through_the_page_cache(
    tmp_path: Path, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, write, direct = os.open, os.pwrite, set[int]()

    def open_file(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_DIRECT and refused == "open":
            raise OSError(errno.EINVAL, "Invalid argument")
        file = opened(path, flags, *mode)
        if flags & os.O_DIRECT:
            direct.add(file)
        return file

    def pwrite(file: int, data: memoryview, position: int) -> int:
        if file in direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(file, data, position)

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "pwrite", pwrite)
    assert _written(tmp_path / "file", [30_000, 40_000], 3) == bytes(3) + DATA.tobytes()


@pytest.mark.parametrize("failing", [1, 2, 5])
def test_what_went_wrong_in_the_thread_is_raised(tmp_path: Path, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, write = [], os.pwrite

    def pwrite(file: int, data: memoryview, position: int) -> int:
        calls.append(position)
        if len(calls) == failing:
            raise OSError(errno.EIO, "Input/output error")
        return write(file, data, position)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="Input/output error"):
        _written(tmp_path / "file", [10_000] * 7, 0)
