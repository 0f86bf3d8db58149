"""The loops of a null in which rows, columns and strata of a matrix each have a share in what becomes visible.

A coordinate changes with probability P = (1 + t/4)⁻⁴, t = a_row · b_column · g_stratum: see ``overlap.joint``, which
says why. ``g`` is by stratum and by bin of row and column, of which there are :data:`BINS` a stratum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.loops.compiled import compiled

BINS = 7
# Of t where a row, column or stratum is empty or full: whatever the two others are, P is 0 or 1.
EMPTY, FULL = 1e18, 1e-18
_LEAST, _MOST = 1e-8, 1e8  # of a factor of t otherwise
_FURTHEST = 1.0  # that the logarithm of a factor moves in one step
_LANES = 16
_ROOT = 65535.0

Ids = npt.NDArray[np.unsignedinteger[Any]]
Singles = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Roots = npt.NDArray[np.uint16]
Integers = npt.NDArray[np.int64]


class Factors(NamedTuple):
    """The factors of t of R rows, C columns and S · BINS strata with bins; row + column is a coordinate's bin.

    ``height`` and ``width`` are those of a matrix; a tensor of several has the rows and columns of them all.
    """

    height: int
    width: int
    rows: Singles
    columns: Singles
    strata: Singles
    row_bins: Singles
    column_bins: Singles


class Totals(NamedTuple):
    """The sums of rows, columns and strata: of a mask, of P, or of −dP/dlog t."""

    rows: Reals
    columns: Reals
    strata: Reals

    @classmethod
    def none(cls, factors: Factors) -> Totals:
        """Nothing yet, of as many rows, columns and strata as ``factors`` has."""
        return cls(np.zeros(factors.rows.size), np.zeros(factors.columns.size), np.zeros(factors.strata.size))


@compiled
def places(ids: Ids, factors: Factors, place: Ids) -> None:
    """Fill ``place``, where in ``factors.strata`` each coordinate is, from its stratum and bin."""
    width = factors.width
    for row in range(factors.rows.size):
        column, row_bin = row // factors.height * width, factors.row_bins[row]
        here, into = ids[row * width : (row + 1) * width], place[row * width : (row + 1) * width]
        bins = factors.column_bins[column : column + width]
        for j in range(width):
            within = min(max(row_bin + bins[j], np.float32(0)), np.float32(BINS - 1))
            into[j] = np.int32(here[j]) * np.int32(BINS) + np.int32(within)


@compiled
def tally(bits: npt.NDArray[np.uint8], place: Ids, factors: Factors, mask: Totals, sizes: Reals) -> None:
    """Add the bits of a packed tensor to ``mask``, and its coordinates to the ``sizes`` of strata."""
    for row in range(factors.rows.size):
        column, total = row // factors.height * factors.width, np.int64(0)
        for j in range(factors.width):
            at = row * factors.width + j
            bit = np.int64(bits[at >> 3] >> np.uint8(at & 7) & np.uint8(1))
            total += bit
            mask.columns[column + j] += bit
            mask.strata[place[at]] += bit
            sizes[place[at]] += 1
        mask.rows[row] += total


@compiled
def _evaluate(row_factor: np.float32, others: Singles, p: Singles, slope: Singles) -> tuple[float, float]:
    """Fill P and −dP/dlog t of a row, whose length is a multiple of the lanes; returns their sums."""
    ps, slopes = np.zeros(_LANES, np.float32), np.zeros(_LANES, np.float32)
    for i in range(others.size // _LANES):
        for lane in range(_LANES):
            t = min(row_factor * others[_LANES * i + lane], np.float32(1e18))
            u = np.float32(1) / (np.float32(1) + np.float32(0.25) * t)
            value = (u * u) * (u * u)
            steep = t * u * value
            p[_LANES * i + lane] = value
            slope[_LANES * i + lane] = steep
            ps[lane] += value
            slopes[lane] += steep
    total, steepness = 0.0, 0.0
    for lane in range(_LANES):
        total += np.float64(ps[lane])
        steepness += np.float64(slopes[lane])
    return total, steepness


@compiled
def sweep(place: Ids, factors: Factors, by_strata: bool, mask: Totals, sums: tuple[Totals, Totals]) -> None:
    """Move every row's factor one step of Newton's method, and add up P and its slopes with those rows.

    Adds to the first and second of ``sums``, for rows from before the step; for strata, or else for columns, after it.
    """
    found, slopes = sums
    width = factors.width
    padded = -(-width // _LANES) * _LANES
    # Behind a row: t so large that nothing is added.
    others, p, slope = np.full(padded, EMPTY, np.float32), np.empty(padded, np.float32), np.empty(padded, np.float32)
    # Sums of one stratum wait for each other: in four copies they do not.
    copies = np.zeros((factors.strata.size if by_strata else 0, 4, 2))
    for row in range(factors.rows.size):
        column, here = row // factors.height * width, place[row * width : (row + 1) * width]
        of_columns = factors.columns[column : column + width]
        for j in range(width):
            others[j] = of_columns[j] * factors.strata[here[j]]
        total, steepness = _evaluate(factors.rows[row], others, p, slope)
        found.rows[row] += total
        if 0 < mask.rows[row] < width:
            factors.rows[row] = _moved(factors.rows[row], total - mask.rows[row], steepness)
            _evaluate(factors.rows[row], others, p, slope)
        if by_strata:
            for j in range(width):
                copies[here[j], j & 3, 0] += p[j]
                copies[here[j], j & 3, 1] += slope[j]
        else:
            sums_p, sums_slope = found.columns[column : column + width], slopes.columns[column : column + width]
            for j in range(width):
                sums_p[j] += p[j]
                sums_slope[j] += slope[j]
    for i in range(copies.shape[0]):
        found.strata[i] += copies[i, 0, 0] + copies[i, 1, 0] + copies[i, 2, 0] + copies[i, 3, 0]
        slopes.strata[i] += copies[i, 0, 1] + copies[i, 1, 1] + copies[i, 2, 1] + copies[i, 3, 1]


@compiled
def _moved(factor: float, residual: float, slope: float) -> np.float32:
    """A factor after one step: more P than there should be makes it larger."""
    step = min(max(residual / (slope + 1e-9), -_FURTHEST), _FURTHEST)
    return np.float32(min(max(factor * np.exp(step), _LEAST), _MOST))


@compiled
def move(factors: Singles, mask: Reals, sizes: Reals, found: Reals, slopes: Reals) -> None:
    """Move the factors of columns or strata one step, except where they are empty or full."""
    for i in range(factors.size):
        if 0 < mask[i] < sizes[i]:
            factors[i] = _moved(factors[i], found[i] - mask[i], slopes[i])


@compiled
def probabilities_at(place: Ids, positions: Integers, factors: Factors, p: Singles) -> None:
    """Fill ``p`` with P at flat ``positions``."""
    for i in range(positions.size):
        row, j = positions[i] // factors.width, positions[i] % factors.width
        others = factors.columns[row // factors.height * factors.width + j] * factors.strata[place[positions[i]]]
        t = min(factors.rows[row] * others, np.float32(1e18))
        u = np.float32(1) / (np.float32(1) + np.float32(0.25) * t)
        p[i] = (u * u) * (u * u)


@compiled
def products(one: Roots, two: Roots) -> tuple[float, float]:
    """Σ P₁P₂ and Σ P₁(1 − P₁)P₂(1 − P₂) in fp64, of vectors of :func:`roots`."""
    both, spread = np.zeros(_LANES), np.zeros(_LANES)
    for i in range(one.size // _LANES):
        for lane in range(_LANES):
            a, b = np.float64(one[_LANES * i + lane]) / _ROOT, np.float64(two[_LANES * i + lane]) / _ROOT
            p, q = a * a, b * b
            both[lane] += p * q
            spread[lane] += p * q * ((1 - p) * (1 - q))
    return both.sum(), spread.sum()


def roots(p: Singles) -> Roots:
    """√P in 16 bits, which errs by 1e-5 in P at most and less where P is small; zeros fill whole lanes behind."""
    kept = np.zeros(-(-p.size // _LANES) * _LANES, np.uint16)
    kept[: p.size] = np.rint(np.sqrt(p) * np.float32(_ROOT))
    return kept
