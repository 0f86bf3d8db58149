"""Directories that are made once and then only read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from subnetray.config import ConfigError
from subnetray.places import unwritable

_BEGINS_S = 5.0  # from making a directory to having its lock, at the most


def make_once(path: Path, build: Callable[[Path], None]) -> Path:
    """Return ``path``; if it does not exist yet, ``build`` fills an empty directory with files, which then becomes it.

    Any number of processes may ask at once: each builds beside ``path``, the first rename wins, the others discard
    theirs. A build that fails leaves nothing behind, and what one that was killed has left goes with the next.
    """
    if path.is_dir():
        return path
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    handle = None
    # Begun inside: a Ctrl-C that comes right after the directory is there leaves none.
    try:
        _begin(temporary, path)
        # Held while the build goes on: by this others know that it does.
        handle = os.open(temporary, os.O_RDONLY)
        _lock(handle)
        build(temporary)
        for file in temporary.iterdir():
            # safetensors writes files that only their owner may read, whatever the umask.
            file.chmod(temporary.stat().st_mode & 0o666)
            _sync(file)
        _sync(temporary)
        try:
            temporary.rename(path)
        except OSError:
            # A directory that is not empty cannot be replaced: another process was first.
            if not path.is_dir():
                raise
        else:
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if handle is not None:
            os.close(handle)
            _remove_abandoned(path)
    return path


def check_room(path: Path) -> None:
    """Raise ``ConfigError`` if :func:`make_once` could not make ``path``; nothing is made to find out."""
    if not path.is_dir() and (problem := unwritable(path)) is not None:
        raise _refusal(path, problem)


def _lock(handle: int) -> bool:
    """Try to take a lock; returns False while another process has it, and on a file system without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove what builds of ``path`` have left that were killed: nobody has their lock, some time after they began."""
    # Another process removes them too, or they are somebody else's.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for directory in [each for each in path.parent.iterdir() if each.name.startswith(f".{path.name}.")]:
            handle = os.open(directory, os.O_RDONLY)
            try:
                if time.time() - os.fstat(handle).st_mtime > _BEGINS_S and _lock(handle):
                    shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(handle)


def _begin(temporary: Path, path: Path) -> None:
    """Make the empty directory that is to become ``path``."""
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from error


def _refusal(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the cache {path.parent} must be writable ({why}): choose another with cache= or SUBNETRAY_CACHE"
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
