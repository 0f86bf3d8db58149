"""Loops that numpy would need several passes and temporaries for, compiled to machine code on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """``function`` compiled by numba: without the GIL, so that threads share the cores, and kept on disk.

    What is kept is made anew when the file of ``function`` changes, not when that of another which it calls does. Where
    no directory for compiled code can be written (a read-only installation and home), it is compiled again in
    each process. ``NUMBA_CACHE_DIR`` names another directory.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no place for its cache
        return numba.njit(nogil=True)(function)
