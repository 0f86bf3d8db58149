"""The private directory of a driver: Ray's session, and what its processes write for themselves while they live.

Only its user may look into it. The driver holds a lock in it, which the system lets go of however the driver ends: so
another driver can tell, and removes, what one that was killed has left.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path

from subnetray.driver.background import StartError

_LOCK = "lock"
# Ray makes all directories that it is given, and its own, everybody's: within a private one they are nobody else's.
_RAY = "ray"  # as Ray calls its own in RAY_TMPDIR
# Of a path of a Unix socket, and of what is made of the directory's: /r/session_DATE_TIME_MICROSECONDS_PID/sockets/…
_SOCKET_BYTES = 107
_RAY_BYTES = len(f"/{_RAY}/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.0")
# Where it may be instead if the path of the system's temporary directory is too long for that.
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")
# A directory without a lock is one that was made just now.
_YOUNG_S = 60.0


def of_ray(path: Path) -> Path:
    """Ray's own directory in a private one."""
    return path / _RAY


class Scratch:
    """A directory that no other user can read, until :meth:`close`. Raises :class:`StartError`."""

    def __init__(self) -> None:
        self.path = _make()
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it, with all that is in it."""
        _remove(self.path)
        os.close(self._lock)


def remove_stale() -> None:
    """Remove what drivers of this user that are gone have left in the system's temporary directory."""
    ours = re.compile(re.escape(_prefix()) + "[a-z0-9_]{8}")
    for base in _bases():
        try:
            found = [Path(entry.path) for entry in os.scandir(base) if ours.fullmatch(entry.name)]
        except OSError:
            continue
        for path in found:
            if _is_stale(path):
                _remove(path)


def _make() -> Path:
    reasons = []
    for base in _bases():
        if len(os.fsencode(base)) + 1 + len(_prefix()) + 8 + _RAY_BYTES > _SOCKET_BYTES:
            reasons.append(f"{base} is too long for the paths of sockets")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=_prefix(), dir=base))  # mode 0700
        except OSError as error:
            reasons.append(f"{base}: {error.strerror}")
    raise StartError(
        f"no directory for temporary files can be made ({'; '.join(reasons)}): set TMPDIR to a short path of a"
        " directory that can be written"
    )


def _bases() -> list[str]:
    wanted = os.environ.get("TMPDIR") or _SHORT[0]
    return list(dict.fromkeys((str(Path(wanted).absolute()), *_SHORT)))


def _prefix() -> str:
    return f"subnetray-{os.getuid()}-"


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)  # links in it are not followed


def _is_stale(path: Path) -> bool:
    try:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return False
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - status.st_mtime > _YOUNG_S
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
