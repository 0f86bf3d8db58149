"""Overlap against nulls: what two masks would share without shared structure, for many pairs at once.

The uniform null (the paper's appendix E) takes every coordinate of a run as equally likely to be in its mask. In bf16
it is not: an update of a given size is visible where |w| is small, and |w| is common to runs of one init, so that
independent runs overlap above that null. The *ULP-stratified* null compares like with like: within a stratum (tensor
× exponent of |w_init|) all coordinates have the same spacing of representable values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.bits import exponents
from subnetray.subnetwork.mask import Bits, Mask, require_same_shapes
from subnetray.subnetwork.visible import MismatchError, require_same_names
from subnetray.subnetwork.weights import Weights

# Coordinates counted at a time, a multiple of 8: bounds memory, and what is counted stays in the cache.
_BLOCK = 1 << 18
_WORD = 64

Counts = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Strata:
    """For every tensor, which stratum each coordinate is in (flat, C order): integers from 0, the same tensor's only.

    They are as narrow as the number of strata permits, one byte in almost every case.
    """

    ids: dict[str, npt.NDArray[np.unsignedinteger[Any]]]


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
    if init_b is not None:
        require_same_names(init_a, init_b)
        require_same_shapes(
            {name: tuple(tensor.shape) for name, tensor in init_a.items()},
            {name: tuple(tensor.shape) for name, tensor in init_b.items()},
        )
    ids = {}
    for name, tensor in init_a.items():
        code = exponents(tensor).astype(np.uint32)
        if init_b is not None:
            other = exponents(init_b[name])
            code = code * (int(other.max(initial=0)) + 1) + other
        ids[name] = _numbered(code)
    return Strata(ids)


def tensor_strata(mask: Mask) -> Strata:
    """One stratum a tensor, over the coordinates of ``mask``."""
    return Strata({name: np.zeros(math.prod(shape), np.uint8) for name, shape in mask.shapes.items()})


def pair_counts(strata: Strata, rows: Sequence[Mask], columns: Sequence[Mask]) -> PairCounts:
    """Count all pairs of ``rows`` × ``columns`` block by block: every mask is read once, and none is held unpacked.

    Raises ``MismatchError`` when a mask has other tensors or shapes than the first, or the strata another size.
    """
    first = rows[0]
    for mask in (*rows, *columns):
        require_same_shapes(first.shapes, mask.shapes)
    require_same_names(first.shapes, strata.ids)
    for name, ids in strata.ids.items():
        # Bits and strata of different sizes would still be counted, one against another's coordinates.
        if ids.size != math.prod(first.shapes[name]):
            raise MismatchError(
                f"tensor {name!r} has {ids.size} coordinates in the strata and shape {first.shapes[name]} in the masks"
            )
    shape = (len(rows), len(columns))
    k1, k2, k12 = np.zeros(shape[0], np.int64), np.zeros(shape[1], np.int64), np.zeros(shape, np.int64)
    expected, concordant, discordant = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for name, ids in strata.ids.items():
        left, right = [mask.bits[name] for mask in rows], [mask.bits[name] for mask in columns]
        n_b, k1_b, k2_b, k12_b = _tables(ids, left, left if rows is columns else right)
        k1 += k1_b.sum(axis=0)
        k2 += k2_b.sum(axis=0)
        k12 += k12_b.sum(axis=0)
        # In floats: products of two counts of a large tensor do not fit 64 bits.
        n, both = n_b[:, None, None].astype(np.float64), k12_b.astype(np.float64)
        one, two = k1_b[:, :, None].astype(np.float64), k2_b[:, None, :].astype(np.float64)
        expected += (one * two / n).sum(axis=0)
        concordant += (both * (n - one - two + both) / n).sum(axis=0)
        discordant += ((one - both) * (two - both) / n).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds_ratio = concordant / discordant
    return PairCounts(first.n, k1, k2, k12, expected, odds_ratio)


def _numbered(code: npt.NDArray[np.uint32]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Codes by their rank among those that occur; as ``np.unique`` would, in linear time and little memory."""
    occurs = np.zeros(int(code.max(initial=0)) + 1, np.bool_)
    parts = [slice(start, start + _BLOCK) for start in range(0, code.size, _BLOCK)]
    for part in parts:
        occurs[code[part]] = True
    rank = np.cumsum(occurs) - 1
    narrow = rank.astype(np.min_scalar_type(max(int(rank[-1]), 0)))
    numbers = np.empty(code.size, narrow.dtype)
    for part in parts:
        numbers[part] = narrow[code[part]]
    return numbers


def _tables(
    ids: npt.NDArray[np.unsignedinteger[Any]], rows: Sequence[Bits], columns: Sequence[Bits]
) -> tuple[Counts, Counts, Counts, Counts]:
    """(n, k1, k2, k12) of the strata of one tensor, by stratum; ``rows`` and ``columns`` hold packed bits.

    The bits of a block are put in order of strata, each beginning a new word, so that the 2×2 tables of all strata
    come out of one pass of AND and population count over the words of a pair.
    """
    strata = int(ids.max()) + 1 if ids.size else 0
    n = np.zeros(strata, np.int64)
    k1, k2 = np.zeros((strata, len(rows)), np.int64), np.zeros((strata, len(columns)), np.int64)
    k12 = np.zeros((strata, len(rows), len(columns)), np.int64)
    for start in range(0, ids.size, _BLOCK):
        block = ids[start : start + _BLOCK]
        sizes = np.bincount(block)
        present = np.flatnonzero(sizes)
        source, begins = _arrangement(block, sizes[present])
        part = slice(start // 8, (start + block.size + 7) // 8)
        left = np.stack([_arranged(bits[part], block.size, source) for bits in rows])
        right = left if rows is columns else np.stack([_arranged(bits[part], block.size, source) for bits in columns])
        n[present] += sizes[present]
        k1[present] += _count(left, begins).T
        k2[present] += _count(right, begins).T
        for index, words in enumerate(left):
            k12[present, index] += _count(words & right, begins).T
    return n, k1, k2, k12


def _arrangement(
    block: npt.NDArray[np.unsignedinteger[Any]], sizes: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which coordinate each bit of the arranged words holds (``block.size``: none), and each stratum's first word."""
    words = -(-sizes // _WORD)
    begins = np.cumsum(words) - words
    source = np.full(int(words.sum()) * _WORD, block.size, np.intp)
    shift = begins * _WORD - (np.cumsum(sizes) - sizes)
    source[np.arange(block.size) + np.repeat(shift, sizes)] = np.argsort(block, kind="stable")
    return source, begins


def _arranged(bits: Bits, n: int, source: npt.NDArray[np.intp]) -> Words:
    flat = np.zeros(n + 1, np.uint8)
    flat[:n] = np.unpackbits(bits, count=n, bitorder="little")
    return np.packbits(flat[source], bitorder="little").view(np.uint64)


def _count(words: Words, begins: npt.NDArray[np.intp]) -> npt.NDArray[np.uint32]:
    """Bits set by stratum, (masks, strata)."""
    return np.add.reduceat(np.bitwise_count(words), begins, axis=1, dtype=np.uint32)
