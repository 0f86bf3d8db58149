"""Atomic file writes: a result exists whole or not at all (temp file, fsync, rename)."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")  # as mkstemp names files


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed to ``path``, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with named(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Have an OSError that names no file, as one of a disk that is full, name ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def remove_unfinished(directory: Path) -> None:
    """Remove what :func:`atomic_path` left where its process was killed from a directory that nobody else writes to."""
    for path in directory.glob(".*.*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()


def regular(path: Path) -> Path:
    """The path itself; OSError for a pipe, a socket or a device, which would be waited for without end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is no file but a pipe, a socket or a device", str(path))
    return path


def read_whole(path: Path) -> bytes:
    """The bytes of a file; OSError for what is none."""
    return regular(path).read_bytes()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8) to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def _umask() -> int:
    # The process's umask can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
