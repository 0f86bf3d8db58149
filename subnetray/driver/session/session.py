"""Give a driver and its processes a private place: entered before anything starts, left after all has ended.

A sweep on this machine has a private directory, where Ray and all processes have what they write for themselves, and a
watchdog. One that joins a cluster leaves temporary directories to the nodes' processes, and has the same for its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from subnetray.driver.session import signals
from subnetray.driver.session.scratch import Scratch, remove_stale
from subnetray.driver.session.watchdog import MARKS, Watchdog
from subnetray.process.environment import SESSION, forget_launcher

# Where libraries keep what they can do without, beneath a home that may not be writable.
_CACHES = ("MPLCONFIGDIR", "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "NUMBA_CACHE_DIR")
_WANDB = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")

_entered: list[Path] = []


def directory() -> Path | None:
    """The private directory of the session that this process is the driver of, None outside of one."""
    return _entered[-1] if _entered else None


@contextmanager
def entered(local: bool) -> Iterator[Path]:
    """Make this process a driver, alone and watched: the private directory. Raises :class:`StartError`.

    ``local``: whether all of its processes are on this machine. Afterwards its environment is what it was.
    """
    # Before there is anything to clear away: a signal then ends what has begun in order.
    with signals.orderly():
        remove_stale()
        before = dict(os.environ)
        scratch = Scratch()
        watchdog: Watchdog | None = None
        try:
            watchdog = Watchdog(scratch.path)
            forget_launcher()
            os.environ[SESSION] = str(scratch.path)
            os.environ.update(MARKS)
            if local:
                os.environ["TMPDIR"] = str(scratch.path)
                tempfile.tempdir = None
            os.environ.update(_without_home(scratch.path))
            _entered.append(scratch.path)
            yield scratch.path
        finally:
            if scratch.path in _entered:
                _entered.remove(scratch.path)
            _restore(before)
            scratch.close()
            if watchdog is not None:
                watchdog.close()


def _without_home(scratch: Path) -> dict[str, str]:
    """Variables for libraries that would write where the user's home is not, or cannot be written."""
    home = Path(os.environ.get("HOME") or "~").expanduser()
    if os.access(f"{home}/.", os.W_OK | os.X_OK):
        return {}
    place = scratch / "home"
    place.mkdir(mode=0o700)
    if not os.access(f"{home}/.", os.F_OK):
        return {"HOME": str(place)}
    # What is read from a home is read there all the same: credentials, models that were downloaded.
    return {name: str(place / name.lower()) for name in (*_CACHES, *_WANDB) if name not in os.environ}


def _restore(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    tempfile.tempdir = None
