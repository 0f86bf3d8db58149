"""Intervals over runs: Student t for independent runs, the jackknife for pairs that share runs.

Runs are the units of replication, never coordinates: with 10⁵ to 10⁹ of those, everything is significant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

from scipy import special

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` units and its interval of ``level``; its ends are NaN where ``n`` is too small for one."""

    mean: float
    low: float
    high: float
    n: int
    level: float = LEVEL

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2

    @property
    def detectable(self) -> float:
        """Return how far from a limit a truth must lie for four of five such samples to tell; NaN without an interval.

        (t at the interval's level + t at 80 %) standard errors, with this sample's standard error: what the spread of
        these units lets one see, not a statement on the effect that was found.
        """
        if math.isnan(self.half_width):
            return math.nan
        return self.half_width * (1 + _t(POWER, self.n - 1) / _t((1 + self.level) / 2, self.n - 1))

    def p_value(self, limit: float) -> float:
        """Return Student's two-sided p of the mean being ``limit``; 1 without an interval."""
        if math.isnan(self.half_width):
            return 1.0
        if self.half_width == 0:
            return float(self.mean == limit)
        errors = abs(self.mean - limit) / self.half_width * _t((1 + self.level) / 2, self.n - 1)
        df = self.n - 1
        if errors < math.sqrt(df):  # near the middle stdtr is wrong from the ninth digit on
            return float(special.betaincc(0.5, df / 2, errors**2 / (df + errors**2)))
        return float(2 * special.stdtr(df, -errors))

    def map(self, function: Callable[[float], float]) -> Estimate:
        """The estimate on another scale: ``function`` of the mean and of both ends; it must be increasing."""
        return Estimate(function(self.mean), function(self.low), function(self.high), self.n, self.level)


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def t_interval(values: Iterable[float], level: float = LEVEL) -> Estimate:
    """Mean of independent values with its Student t interval; NaN values (not measured) are left out."""
    known = [value for value in values if not math.isnan(value)]
    n = len(known)
    if n == 0:
        return NOTHING
    mean = math.fsum(known) / n
    if n == 1 or not math.isfinite(mean):
        return Estimate(mean, math.nan, math.nan, n, level)
    variance = math.fsum((value - mean) ** 2 for value in known) / (n - 1)
    half = _t((1 + level) / 2, n - 1) * math.sqrt(variance / n)
    return Estimate(mean, mean - half, mean + half, n, level)


def jackknife(
    units: Sequence[Hashable], statistic: Callable[[Collection[Hashable]], float], level: float = LEVEL
) -> Estimate:
    """``statistic`` of all ``units`` with the interval of its delete-one-unit jackknife (t with R − 1 degrees).

    ``statistic`` takes the units that are kept, and is NaN where they are too few: then there is no interval.
    Of a mean over units the interval is that of :func:`t_interval`.
    """
    distinct = list(dict.fromkeys(units))
    r = len(distinct)
    whole = statistic(frozenset(distinct)) if r else math.nan
    if r < 2:
        return Estimate(whole, math.nan, math.nan, r, level)
    parts = [statistic(frozenset(unit for unit in distinct if unit != left_out)) for left_out in distinct]
    if not all(map(math.isfinite, (whole, *parts))):
        return Estimate(whole, math.nan, math.nan, r, level)
    centre = math.fsum(parts) / r
    variance = (r - 1) / r * math.fsum((part - centre) ** 2 for part in parts)
    half = _t((1 + level) / 2, r - 1) * math.sqrt(variance)
    return Estimate(whole, whole - half, whole + half, r, level)


def pair_interval(
    values: Sequence[float], pairs: Sequence[tuple[Hashable, Hashable]], level: float = LEVEL
) -> Estimate:
    """Mean over pairs, each of two units, with the jackknife over units: pairs that share a unit are not independent.

    ``n`` counts units. NaN values are left out.
    """
    known = [(value, pair) for value, pair in zip(values, pairs, strict=True) if not math.isnan(value)]

    def mean(kept: Collection[Hashable]) -> float:
        inside = [value for value, (a, b) in known if a in kept and b in kept]
        return sum(inside) / len(inside) if inside else math.nan

    return jackknife([unit for _, pair in known for unit in pair], mean, level)


def _t(p: float, df: float) -> float:
    """The quantile of Student's t with ``df`` degrees of freedom."""
    return float(special.stdtrit(df, p))
