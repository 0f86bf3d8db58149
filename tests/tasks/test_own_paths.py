"""Paths of one's own data that hold no records: each is one sentence before any work."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subnetray import tasks
from subnetray.config import ConfigError
from tests.tasks.test_own_data import ROWS, lines, of, refused


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def listening(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


def many(path: Path) -> Path:
    for n in range(11):
        (path / str(n)).mkdir(parents=True)
        for m in range(100):
            (path / str(n) / f"{m}.json").touch()
    return path


def large(path: Path) -> Path:
    path.mkdir()
    with (path / "model.safetensors").open("wb") as file:
        file.truncate(40 << 30)
    return path


def empty(path: Path) -> Path:
    path.mkdir()
    return path


def of_code(path: Path) -> Path:
    path.mkdir()
    (path / "main.py").write_text("print()\n")
    return path


def packed(path: Path) -> Path:
    file = path.with_suffix(".jsonl.gz")
    file.write_bytes(gzip.compress(lines(ROWS)))
    return file


def damaged(path: Path) -> Path:
    file = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    file.write_bytes(file.read_bytes()[:200] + b"PAR1")
    return file


def ends_nowhere(path: Path) -> Path:
    path.symlink_to(path.parent / "nowhere.jsonl")
    return path.rename(path.with_suffix(".jsonl"))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (pipe, r"is a named pipe, and must be a file or a directory$"),
        (listening, r"is a socket, and must be a file or a directory$"),
        (lambda path: Path("/dev/zero"), r"^task\.path: /dev/zero is a device, and must be a file or a directory$"),
        (many, r"holds more than 1,000 files: name the directory of one data set, or its file$"),
        (large, r"holds more than 32 GiB: name the directory of one data set, or its file$"),
        (empty, r"holds no files"),
        (of_code, r"could not be read: "),
        (packed, r"must end in one of \.jsonl, \.json, \.csv, \.tsv, \.parquet \(unpack it first\)$"),
        (damaged, r"cannot be read as Parquet: "),
        (ends_nowhere, r"^task\.path: there is no file or directory "),
        (lambda path: path / "a\0b.jsonl", r"^task\.path: there is no file or directory .*\\x00"),
        (lambda path: path / "a\x1b[2Jb.jsonl", r"^task\.path: there is no file or directory .*\\x1b"),
    ],
)
def test_a_path_that_holds_no_records_is_one_sentence(
    make: Callable[[Path], Path], sentence: str, tmp_path: Path
) -> None:
    config = of(make(tmp_path / "my"))
    with pytest.raises(ConfigError, match=sentence) as error:
        tasks.check(config)
    assert len(str(error.value)) <= 500
    assert str(error.value).isprintable()


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my.jsonl"
    path.write_bytes(lines(ROWS))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    refused(of(path), r"my\.jsonl cannot be read: Permission denied$")
