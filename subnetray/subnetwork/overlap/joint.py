"""The joint null of stratum, row and column: what masks share if all three, at once, decide what becomes visible.

Some rows and columns of a matrix have larger gradients than others in every run. The ULP-stratified null does not know
of rows, and the null of rows and columns knows nothing of |w_init|: either calls what the other explains an overlap
beyond chance, and what the two explain does not add up. Here a coordinate of stratum s, row i and column j of a run's
mask is an independent bit with

    P = (1 + t/4)⁻⁴,   log t = α_i + β_j + γ_s,

where α, β and γ give every row, column and stratum its number of coordinates in expectation. They are fitted for each
run by itself, so that two runs err independently, and expected of two masks is Σ P₁·P₂.

The link. An update is visible where it exceeds half a ULP: P is the survival function of |Δ| at t, which is the ULP
over the scale of row and column, and additive in logarithms. With 1/(1 + t) in place of P this is logistic regression,
and e⁻ᵗ is the law of exponential tails; laws of updates lie between and beyond. So after the first fit γ is fitted
again by stratum and by seven bins of α_i + β_j: within each stratum the link is then free.

What is left of planted scales that two runs share (rows and columns each, log-normal), and what is taken too much
(negative), in points of o1 (``benchmarks/nulls.py``; docs/nulls.md has the table): −0.3 to +0.2 at standard deviations
up to 0.3 and densities from 0.08 to 0.9; at 1, −0.2 to +0.8, and up to +2.3 at a density of 0.02 and updates of uniform
law. Logistic regression takes up to 0.9 too much at 0.3 and a density of 0.08, and 2.0 at 1 and a density of 0.02.

Limits. A tensor without rows and columns (a vector, or sides below 2) has strata alone: there the null is the
ULP-stratified one. Where rows are so short that their sums all but determine the mask, nothing is left to be found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.loops.visibility import (
    BINS,
    EMPTY,
    FULL,
    Factors,
    Ids,
    Reals,
    Roots,
    Singles,
    Totals,
    move,
    places,
    probabilities_at,
    products,
    roots,
    sweep,
    tally,
)
from subnetray.subnetwork.mask import Bits, Mask, require_same_shapes
from subnetray.subnetwork.overlap.sketch import Sample
from subnetray.subnetwork.overlap.strata import Strata
from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.visible import MismatchError

_STEPS, _STEPS_WITH_BINS = 20, 10  # at most
_PRECISION = 1e-3  # what sums may be off, in all, as a share of what is changed
_BIN = 0.7  # standard deviations of α + β


@dataclass(frozen=True, eq=False)
class Joint:
    """The null of one mask at drawn coordinates: the ``roots`` of their P, of ``n`` in all."""

    roots: Roots
    drawn: int
    n: int

    @property
    def nbytes(self) -> int:
        """Memory of the probabilities."""
        return self.roots.nbytes


@dataclass(frozen=True)
class JointExpectation:
    """The null expects this of two masks: ``k12``, and its ``variance`` Σ P₁(1 − P₁)·P₂(1 − P₂)."""

    k12: float
    variance: float

    def odds_ratio(self, k12: int) -> float:
        """The odds ratio of two bits of one coordinate given its P₁ and P₂, by Peto's one step from 1.

        exp((k12 − expected) / variance): Yusuf et al., Prog. Cardiovasc. Dis. 27, 335 (1985). It is 1 exactly where
        the excess is 0. NaN where the variance is 0, inf if it is out of range.
        """
        logarithm = ratio(k12 - self.k12, self.variance)
        return math.exp(logarithm) if not logarithm > 700 else math.inf


def joint(mask: Mask, strata: Strata, drawn: Sample) -> Joint:
    """Fit the null of ``mask``, whose coordinates are in ``strata``, one tensor at a time.

    ``drawn``: a sample of all coordinates alike, or all. Beside mask and strata it takes 2 to 4 bytes a coordinate of
    one tensor. Raises ``MismatchError`` for other tensors, and for samples that have each tensor's share.
    """
    if drawn.by_tensor and drawn.n < mask.n:
        raise MismatchError("the joint null needs a sample that is drawn from all coordinates alike (by_tensor=False)")
    require_same_shapes(strata.shapes, mask.shapes)
    require_same_shapes(drawn.shapes, mask.shapes)
    p = np.empty(drawn.n, np.float32)
    first = 0
    for name, positions in drawn.positions.items():
        here = p[first : first + positions.size]
        if positions.size:
            factors, place = fit(mask.bits[name], strata.ids(name), mask.shapes[name])
            probabilities_at(place, positions, factors, here)
        first += positions.size
    return Joint(roots(p), drawn.n, mask.n)


def joint_overlap(one: Joint, two: Joint) -> JointExpectation:
    """Expected overlap of two masks; of drawn coordinates, times what one of them stands for.

    A sample of 2²² errs by less than 1e-4 of all coordinates. Raises ``MismatchError`` for nulls of other samples.
    """
    if (one.drawn, one.n) != (two.drawn, two.n):
        raise MismatchError(f"nulls at {one.drawn} and {two.drawn} coordinates are not of one sample")
    both, spread = products(one.roots, two.roots)
    scale = one.n / one.drawn if one.drawn else 0.0
    return JointExpectation(scale * both, scale * spread)


def fit(bits: Bits, ids: Ids, shape: tuple[int, ...]) -> tuple[Factors, Ids]:
    """Factors of t for one tensor's packed ``bits``, and where among those of strata each coordinate's is.

    ``ids`` (flat) are the coordinates' strata: 0, 1, …, each occurring.
    """
    matrices = len(shape) > 1 and min(shape[-2:]) > 1
    height, width = shape[-2:] if matrices else (1, ids.size)
    factors = _factors(height, width, ids.size // (height * width), int(ids.max()) + 1)
    place = np.empty(ids.size, np.min_scalar_type(factors.strata.size))
    mask, sizes = _tallied(bits, ids, factors, place)
    factors = factors._replace(strata=_start(mask.strata, sizes, 1.0))
    if not matrices:
        return factors, place
    density = mask.rows.sum() / ids.size
    factors = factors._replace(
        rows=_start(mask.rows, np.full(mask.rows.size, float(width)), density),
        columns=_start(mask.columns, np.full(mask.columns.size, float(height)), density),
    )
    _solve(place, factors, mask, sizes, _STEPS)
    factors = _with_bins(factors)
    mask, sizes = _tallied(bits, ids, factors, place)
    settled = _settled(mask.strata, sizes)
    before = np.repeat(factors.strata[BINS // 2 :: BINS], BINS)  # all were in the middle bin
    factors = factors._replace(strata=np.where(np.isnan(settled), before, settled).astype(np.float32))
    _solve(place, factors, mask, sizes, _STEPS_WITH_BINS)
    return factors, place


def _factors(height: int, width: int, matrices: int, strata: int) -> Factors:
    """Return factors of 1, with all coordinates in the middle bin."""
    rows, columns = matrices * height, matrices * width
    return Factors(
        height=height,
        width=width,
        rows=np.ones(rows, np.float32),
        columns=np.ones(columns, np.float32),
        strata=np.ones(strata * BINS, np.float32),
        row_bins=np.full(rows, BINS / 2, np.float32),
        column_bins=np.zeros(columns, np.float32),
    )


def _tallied(bits: Bits, ids: Ids, factors: Factors, place: Ids) -> tuple[Totals, Reals]:
    """Fill ``place``; returns what a mask adds up to, and the sizes of strata."""
    mask, sizes = Totals.none(factors), np.zeros(factors.strata.size)
    places(ids, factors, place)
    tally(bits, place, factors, mask, sizes)
    return mask, sizes


def _settled(mask: Reals, sizes: Reals) -> Reals:
    """Return the factor of what is empty or full; NaN elsewhere."""
    return np.where(mask <= 0, EMPTY, np.where(mask >= sizes, FULL, np.nan))


def _start(mask: Reals, sizes: Reals, density: float) -> Singles:
    """Return factors that are right where nothing but these and ``density`` matter."""

    def t(p: npt.ArrayLike) -> Reals:
        return 4 * (np.asarray(p, float) ** -0.25 - 1)

    p = (mask + 0.5 * density) / (sizes + 0.5) if density < 1 else mask / np.maximum(sizes, 1)
    settled = _settled(mask, sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = t(p) if density >= 1 else t(p) / t(density)
    return np.where(np.isnan(settled), found, settled).astype(np.float32)


def _with_bins(factors: Factors) -> Factors:
    """Return the factors with bins of α + β: of what is neither empty nor full."""
    logs = [np.log(part, dtype=np.float64) for part in (factors.rows, factors.columns)]
    inside = [np.abs(log) < math.log(1e9) for log in logs]
    if not all(each.any() for each in inside):
        return factors
    spread = math.sqrt(sum(float(log[each].var()) for log, each in zip(logs, inside, strict=True)))
    if not spread > 1e-6:
        return factors
    rows, columns = (
        ((log - log[each].mean()) / (_BIN * spread)).astype(np.float32) for log, each in zip(logs, inside, strict=True)
    )
    return factors._replace(row_bins=rows + np.float32(BINS / 2), column_bins=columns)


def _solve(place: Ids, factors: Factors, mask: Totals, sizes: Reals, steps: int) -> None:
    """Move rows at every step, and strata and columns in turn, until sums are those of the mask."""
    heights = np.full(mask.columns.size, float(factors.height))
    allowed, within = _PRECISION * mask.rows.sum(), 0
    for step in range(steps):
        found, slopes = Totals.none(factors), Totals.none(factors)
        by_strata = step % 2 == 0
        sweep(place, factors, by_strata, mask, (found, slopes))
        side, of, size = ("strata", factors.strata, sizes) if by_strata else ("columns", factors.columns, heights)
        wanted, got = getattr(mask, side), getattr(found, side)
        off = np.abs(found.rows - mask.rows).sum() + np.abs(got - wanted).sum()
        within = within + 1 if off <= allowed else 0
        if within == 2:  # both sides
            break
        move(of, wanted, size, got, getattr(slopes, side))
