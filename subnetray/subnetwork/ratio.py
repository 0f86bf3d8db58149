"""Shares of what may be nothing."""

from __future__ import annotations

import math


def ratio(part: float, whole: float) -> float:
    """``part / whole``; NaN for a whole of 0."""
    return part / whole if whole else math.nan
