"""The null of rows and columns: what two masks share if each matrix's mask knows only its own row and column sums.

Whole rows or columns that change more (outlier channels, neurons, frequent tokens) make masks of independent runs
overlap without any coordinate being special. Given its margins, the mask of a matrix is taken to be the least
informative there is: independent bits with P(i, j) = σ(α_i + β_j), where α and β give every row and column its sum in
expectation (the bipartite configuration model of maximum entropy: Saracco et al., Scientific Reports 5, 10595, 2015;
in psychometrics the Rasch model). The simpler r_i·c_j/k is its limit for sparse masks, and exceeds 1 in dense ones,
where it is no probability. Expected of two masks: Σ P1·P2.

Limits. The sums hold in expectation, not exactly, which matters for matrices with very short sides only. A matrix of
one row or column is determined by its margins, so that vectors are taken by their density alone, as in the null per
tensor. Dimensions before the last two count matrices (fused experts). Margins that two runs share because |w_init|
varies by row are explained by this null and by the ULP-stratified one alike: what the two explain does not add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.mask import Bits, Mask, require_same_shapes, unpack

# Rows unpacked at a time, of about so many coordinates; at most 255, so that their sums fit one byte.
_CHUNK = 1 << 20
# Relative error of a matrix of probabilities in its factors.
_PRECISION = 1e-9

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Margins:
    """The null of one mask: for every matrix the factors (rows, q) and (columns, q) of P = left @ right.T.

    P is smooth in α + β, and q a dozen whatever the size of the matrix. A vector is a matrix with one row and column,
    whose factors are such that their products are those of its density.
    """

    factors: tuple[tuple[Reals, Reals], ...]
    shapes: dict[str, tuple[int, ...]]

    @property
    def nbytes(self) -> int:
        """Memory of the factors."""
        return sum(left.nbytes + right.nbytes for left, right in self.factors)


def margins(mask: Mask) -> Margins:
    """Fit the null of ``mask`` to the row and column sums of its matrices."""
    factors = []
    for name, shape in mask.shapes.items():
        if len(shape) < 2 or min(shape[-2:]) < 2 or 0 in shape:
            n = math.prod(shape)
            k = int(np.bitwise_count(mask.bits[name]).sum(dtype=np.int64))
            factors.append((np.full((1, 1), k / math.sqrt(n) if n else 0.0), np.ones((1, 1))))
            continue
        for rows, columns in _sums(mask.bits[name], shape):
            r, row_class, m = np.unique(rows, return_inverse=True, return_counts=True)
            c, column_class, n_c = np.unique(columns, return_inverse=True, return_counts=True)
            left, right = _factors(probabilities(r, m, c, n_c))
            factors.append((left[row_class], right[column_class]))
    return Margins(tuple(factors), mask.shapes)


def expected_overlap(rows: Sequence[Margins], column: Margins) -> Reals:
    """Expected k12 of each of R masks with one other, (R,); raises ``MismatchError`` for masks of other tensors."""
    expected = np.zeros(len(rows))
    for mask in rows:
        require_same_shapes(mask.shapes, column.shapes)
    for index, (left, right) in enumerate(column.factors):
        # All masks' factors side by side: one product of matrices each, however many there are.
        lefts, rights = (np.concatenate([mask.factors[index][side] for mask in rows], axis=1) for side in (0, 1))
        terms = ((left.T @ lefts) * (right.T @ rights)).sum(axis=0)
        widths = [mask.factors[index][0].shape[1] for mask in rows]
        expected += np.add.reduceat(terms, np.cumsum(widths) - widths)
    return expected


def probabilities(r: Integers, m: Integers, c: Integers, n: Integers) -> Reals:
    """P for rows of sum ``r[i]``, ``m[i]`` of them, and columns of sum ``c[j]``, ``n[j]`` of them: (i, j).

    All rows of one sum have one α. Sums that leave a row or column no choice, 0 or its length, are kept exactly; the
    others within 1e-6 of a coordinate, unless they all but determine the mask, where α and β grow without bound.
    """
    p = np.zeros((r.size, c.size))
    left_r, left_c = r.astype(float), c.astype(float)
    rows, columns = np.ones(r.size, np.bool_), np.ones(c.size, np.bool_)
    while True:
        height, width = float(m[rows].sum()), float(n[columns].sum())
        full_r, full_c = rows & (left_r >= width), columns & (left_c >= height)
        fixed_r, fixed_c = full_r | (rows & (left_r <= 0)), full_c | (columns & (left_c <= 0))
        if fixed_r.any():
            p[np.ix_(full_r, columns)] = 1
            left_c[columns] -= m[full_r].sum()
            rows &= ~fixed_r
        elif fixed_c.any():
            p[np.ix_(rows, full_c)] = 1
            left_r[rows] -= n[full_c].sum()
            columns &= ~fixed_c
        else:
            break
    if rows.any() and columns.any():
        p[np.ix_(rows, columns)] = _fit(left_r[rows], m[rows], left_c[columns], n[columns])
    return p


def _fit(r: Reals, m: Integers, c: Reals, n: Integers) -> Reals:
    """P of rows and columns of which none is empty or full, by Newton's method for α and for β in turn."""
    height, width = m.sum(), n.sum()
    density = float(r @ m) / (height * width)
    a = np.log(r / (width - r))
    b = np.log(c / (height - c)) - math.log(density / (1 - density))
    for _ in range(200):
        p = _sigmoid(a[:, None] + b)
        a += np.clip((r - p @ n) / ((p * (1 - p)) @ n + 1e-12), -1, 1)
        p = _sigmoid(a[:, None] + b)
        b += np.clip((c - m @ p) / (m @ (p * (1 - p)) + 1e-12), -1, 1)
        p = _sigmoid(a[:, None] + b)
        if max(np.abs(r - p @ n).max(), np.abs(c - m @ p).max()) < 1e-6:
            break
    return p


def _sigmoid(x: Reals) -> Reals:
    return 1 / (1 + np.exp(-x))


def _factors(p: Reals) -> tuple[Reals, Reals]:
    """left, right of few columns with p = left @ right.T, up to ``_PRECISION``."""
    basis, small = np.eye(p.shape[0]), p
    generator = np.random.default_rng(0)
    width = 32
    while width < min(p.shape):
        # Randomised range finder (Halko et al., 2011): most of p's singular values are 0 to this precision.
        q = np.linalg.qr(p @ generator.standard_normal((p.shape[1], width)))[0]
        found = q.T @ p
        if np.linalg.norm(p - q @ found) <= _PRECISION * np.linalg.norm(p):
            basis, small = q, found
            break
        width *= 2
    u, s, v = np.linalg.svd(small, full_matrices=False)
    kept = slice(max(1, int((s > _PRECISION * s[0]).sum())))
    return basis @ (u[:, kept] * s[kept]), v[kept].T


def _sums(bits: Bits, shape: tuple[int, ...]) -> Iterator[tuple[Integers, Integers]]:
    """Row and column sums of each matrix of a tensor's packed bits."""
    height, width = shape[-2:]
    step = max(1, min(255, _CHUNK // width))
    for matrix in range(math.prod(shape[:-2])):
        rows, columns = np.empty(height, np.int64), np.zeros(width, np.int64)
        for start in range(0, height, step):
            stop = min(start + step, height)
            first, last = (matrix * height + start) * width, (matrix * height + stop) * width
            flat = unpack(bits[first // 8 : (last + 7) // 8], last - first // 8 * 8)[first % 8 :]
            part = flat.view(np.uint8).reshape(-1, width)
            rows[start:stop] = np.bitwise_count(np.packbits(part, axis=1)).sum(axis=1, dtype=np.int64)
            columns += part.sum(axis=0, dtype=np.uint8)
        yield rows, columns
