"""Overlap against nulls: what two masks would share without shared structure, for many pairs at once.

The uniform null (the paper's appendix E) takes every coordinate of a run as equally likely to be in its mask. In bf16
it is not: an update of a given size is visible where |w| is small, and |w| is common to runs of one init, so that
independent runs overlap above that null. The *ULP-stratified* null compares like with like: within a stratum (tensor
× exponent of |w_init|) all coordinates have the same spacing of representable values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.bits import exponents
from subnetray.subnetwork.mask import Mask, require_same_shapes
from subnetray.subnetwork.visible import require_same_names
from subnetray.subnetwork.weights import Weights

# Coordinates counted at a time: bounds memory, and keeps counts in fp32 exact (below 2**24).
_BLOCK = 1 << 20

Counts = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Strata:
    """For every tensor, which stratum each coordinate is in (flat, C order): small integers, the same tensor's only."""

    ids: dict[str, npt.NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Counts of every pair of R masks (rows) with C others (columns), and what a stratified null expects of them.

    ``n`` coordinates; ``k1`` (R,), ``k2`` (C,) and ``k12`` (R, C) int64. ``expected`` (R, C): Σ_b k1_b·k2_b/n_b over
    strata b. ``odds_ratio`` (R, C), Mantel–Haenszel: Σ_b a_b·d_b/n_b over Σ_b b_b·c_b/n_b, where a, b, c, d are the
    cells of stratum b's 2×2 table; inf where only the divisor is 0, NaN where both are.
    """

    n: int
    k1: Counts
    k2: Counts
    k12: Counts
    expected: Reals
    odds_ratio: Reals

    @property
    def excess(self) -> Reals:
        """k12 − expected, (R, C)."""
        return self.k12 - self.expected


def ulp_strata(init_a: Weights, init_b: Weights | None = None) -> Strata:
    """Strata by exponent of |w_init|; of two inits by both exponents, since each run's visibility follows its own.

    Raises ``MismatchError`` when the two have other names or shapes.
    """
    ids = {}
    if init_b is not None:
        require_same_names(init_a, init_b)
        require_same_shapes(
            {name: tuple(tensor.shape) for name, tensor in init_a.items()},
            {name: tuple(tensor.shape) for name, tensor in init_b.items()},
        )
    for name, tensor in init_a.items():
        code = exponents(tensor).astype(np.int64)
        if init_b is not None:
            code = (code << 16) | exponents(init_b[name])
        ids[name] = np.unique(code, return_inverse=True)[1].reshape(-1).astype(np.int32)
    return Strata(ids)


def tensor_strata(mask: Mask) -> Strata:
    """One stratum a tensor, over the coordinates of ``mask``."""
    return Strata({name: np.zeros(np.prod(shape, dtype=np.int64), np.int32) for name, shape in mask.shapes.items()})


def pair_counts(strata: Strata, rows: Sequence[Mask], columns: Sequence[Mask]) -> PairCounts:
    """Count all pairs of ``rows`` × ``columns`` block by block: every mask is unpacked once.

    Raises ``MismatchError`` when a mask has other tensors or shapes than the first.
    """
    first = rows[0]
    for mask in (*rows, *columns):
        require_same_shapes(first.shapes, mask.shapes)
    require_same_names(first.shapes, strata.ids)
    shape = (len(rows), len(columns))
    k1, k2 = np.zeros(shape[0], np.int64), np.zeros(shape[1], np.int64)
    k12 = np.zeros(shape, np.int64)
    expected, concordant, discordant = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for name, ids in strata.ids.items():
        for n_b, k1_b, k2_b, k12_b in _tables(ids, [m.flat(name) for m in rows], [m.flat(name) for m in columns]):
            k1 += k1_b
            k2 += k2_b
            k12 += k12_b
            one, two = k1_b[:, None], k2_b[None, :]
            expected += one * two / n_b
            concordant += k12_b * (n_b - one - two + k12_b) / n_b
            discordant += (one - k12_b) * (two - k12_b) / n_b
    with np.errstate(divide="ignore", invalid="ignore"):
        odds_ratio = concordant / discordant
    return PairCounts(first.n, k1, k2, k12, expected, odds_ratio)


def _tables(
    ids: npt.NDArray[np.int32], rows: Sequence[npt.NDArray[np.bool_]], columns: Sequence[npt.NDArray[np.bool_]]
) -> Iterator[tuple[int, Counts, Counts, Counts]]:
    """(n, k1, k2, k12) of every stratum of one tensor that has coordinates."""
    strata = int(ids.max(initial=-1)) + 1
    n = np.bincount(ids, minlength=strata)
    k1, k2 = np.zeros((strata, len(rows)), np.int64), np.zeros((strata, len(columns)), np.int64)
    k12 = np.zeros((strata, len(rows), len(columns)), np.int64)
    for start in range(0, ids.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        order = np.argsort(ids[block], kind="stable")
        edges = np.searchsorted(ids[block][order], np.arange(strata + 1))
        left = np.stack([row[block][order] for row in rows]).astype(np.float32)
        right = np.stack([column[block][order] for column in columns]).astype(np.float32)
        for b in range(strata):
            inside = slice(edges[b], edges[b + 1])
            k1[b] += left[:, inside].sum(axis=1).astype(np.int64)
            k2[b] += right[:, inside].sum(axis=1).astype(np.int64)
            k12[b] += (left[:, inside] @ right[:, inside].T).astype(np.int64)
    for b in np.flatnonzero(n):
        yield int(n[b]), k1[b], k2[b], k12[b]
