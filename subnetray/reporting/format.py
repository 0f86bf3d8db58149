"""Numbers as text. A dash means: not measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subnetray.analysis.intervals import Estimate

NONE = "–"


def percent(estimate: Estimate, digits: int = 1) -> str:
    """A share in percent with its interval, as in ``60.1 ± 1.7``; the unit belongs in the column's title."""
    return _with_interval(f"{100 * estimate.mean:.{digits}f}", estimate, 100, digits)


def points(estimate: Estimate, digits: int = 1) -> str:
    """A difference of shares in percentage points, signed: ``+6.8 ± 1.7``."""
    return _with_interval(signed(100 * estimate.mean, digits), estimate, 100, digits)


def number(estimate: Estimate, digits: int = 2) -> str:
    """A mean with its interval: ``0.38 ± 0.02``."""
    return _with_interval(plain(estimate.mean, digits), estimate, 1, digits)


def ratio(estimate: Estimate) -> str:
    """A ratio with the ends of its interval, which is not symmetric: ``4.6 [3.9, 5.4]``."""
    if math.isnan(estimate.mean):
        return NONE
    ends = "" if math.isnan(estimate.low) else f" [{_short(estimate.low)}, {_short(estimate.high)}]"
    return _short(estimate.mean) + ends


def interval(estimate: Estimate, level: float) -> str:
    """The ends of an interval and its level, as in ``+1.20 to +3.40 (95 %)``."""
    if math.isnan(estimate.low):
        return NONE
    return f"{signed(estimate.low, 2)} to {signed(estimate.high, 2)} ({100 * level:.0f} %)"


def share(value: float, digits: int = 1) -> str:
    """A share in percent without interval."""
    return NONE if math.isnan(value) else f"{100 * value:.{digits}f}"


def plain(value: float, digits: int) -> str:
    """A number, with a true minus if it is negative."""
    return NONE if math.isnan(value) else signed(value, digits).removeprefix("+")


def signed(value: float, digits: int) -> str:
    """A number with its sign (a true minus); zero has none."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def listing(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _with_interval(mean: str, estimate: Estimate, scale: float, digits: int) -> str:
    if math.isnan(estimate.mean):
        return NONE
    return mean if math.isnan(estimate.low) else f"{mean} ± {scale * estimate.half_width:.{digits}f}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def rounded(value: Any) -> float | None:
    """A number to five digits; None if it is none."""
    return float(f"{float(value):.5g}") if value is not None and math.isfinite(float(value)) else None
