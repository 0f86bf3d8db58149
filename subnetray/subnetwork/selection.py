"""Finding a number by its rank among many that are never held together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_DIGIT = 16


def kth_smallest(read: Callable[[], Iterable[npt.NDArray[Any]]], bits: int, k: int) -> int:
    """The ``k``-th smallest (from 1) of non-negative integers of ``bits`` bits, exactly: no copy, no sort.

    ``read`` gives all of them, chunk by chunk, each time that it is called: once for every 16 bits.
    """
    prefix = 0
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(1 << _DIGIT, np.int64)
        for chunk in read():
            kind = chunk.dtype.type
            digits = chunk >> kind(shift)
            if shift + _DIGIT < bits:
                digits = digits[digits >> kind(_DIGIT) == kind(prefix)] & kind((1 << _DIGIT) - 1)
            counts += np.bincount(digits.astype(np.intp, copy=False), minlength=1 << _DIGIT)
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, k))
        k -= int(below[digit - 1]) if digit else 0
        prefix = prefix << _DIGIT | digit
    return prefix
