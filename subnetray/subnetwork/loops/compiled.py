"""Loops that numpy would need several passes and temporaries for, compiled to machine code on first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PACKAGE = Path(__file__).parents[2]


def compiled(function: _Function) -> _Function:
    """``function`` compiled by numba: without the GIL, so that threads share the cores, and kept on disk.

    Where no directory for compiled code can be written (a read-only installation and home), it is compiled again in
    each process. ``NUMBA_CACHE_DIR`` names another directory.
    """
    try:
        made = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no place for its cache
        return numba.njit(nogil=True)(function)
    return made if _stamp(made) else numba.njit(nogil=True)(function)


def _stamp(made: Any) -> bool:
    """Have numba keep code until any of our files changes; return whether it does.

    numba itself looks at the function's own file alone, as its manual says, and what it calls in others is part of what
    is kept too. It has no public way to say more: this reaches into what holds the stamp (numba 0.65.0). Without: code
    is compiled again in each process, for what is kept might be of other sources.
    """
    file: Any = getattr(getattr(made, "_cache", None), "_cache_file", None)
    if not hasattr(file, "_source_stamp"):
        return False
    file._source_stamp = _sources()
    return True


@cache
def _sources() -> tuple[tuple[str, int, int], ...]:
    """What tells one version of the package's files from another."""
    files = sorted(
        path for room in ("subnetwork", "checkpoints", "rollout") for path in (_PACKAGE / room).rglob("*.py")
    )
    return tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files)
