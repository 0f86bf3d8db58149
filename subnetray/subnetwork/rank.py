"""Rank of an update, by four definitions, beside that of the same entries put anywhere.

"Full rank" by itself says little: random numbers in a random one per cent of a 1024 × 1024 matrix have nearly full
numerical rank already. What an update's structure adds shows against :func:`shuffled`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_FP32 = float(np.finfo(np.float32).eps)
_FP64 = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Rank:
    """Ranks of a matrix of singular values σ1 ≥ σ2 ≥ …, at most ``full`` = min(rows, columns):

    ========== ======================================= ======================================================
    numerical  #{σ > max(rows, columns)·eps_fp32·σ1}   arXiv 2505.11711: torch's ``matrix_rank`` of an fp32 Δ
    stable     Σσ²/σ1²
    entropy    exp(−Σ p ln p) with p = σ/Σσ            Roy and Vetterli's effective rank (EUSIPCO 2007)
    energy_99  fewest σ² that make 99 % of Σσ²         arXiv 2602.07729
    ========== ======================================= ======================================================

    Of a matrix of zeros ``numerical`` and ``energy_99`` are 0, ``stable`` and ``entropy`` NaN.
    """

    full: int
    numerical: int
    stable: float
    entropy: float
    energy_99: int


def rank(blocks: Iterable[Tensor], shape: Sequence[int]) -> Rank:
    """Ranks of the matrix of ``shape`` (rows, columns) that ``blocks`` make: of all its rows or of all its columns.

    Blocks are whole along the shorter side (rows, of a square one) and follow one another along the other, in any
    order; ``[matrix]`` will do. Memory: two fp64 squares of the shorter side, and a block. σ² are eigenvalues of the
    Gram matrix in fp64, so that σ below 2e-8·√full·σ1 cannot be told from 0: far below what ``numerical`` counts.

    Raises ``ValueError`` where an entry is not finite, or too large to be squared in fp64.
    """
    rows, columns = shape
    tall = rows >= columns
    full = min(rows, columns)
    gram = torch.zeros(full, full, dtype=torch.float64)
    for block in blocks:
        wide = block.double() if tall else block.double().T
        gram.addmm_(wide.T, wide)
    if not gram.isfinite().all():
        raise ValueError("a matrix with entries that are not finite, or too large to be squared in fp64, has no rank")
    squares = np.maximum(torch.linalg.eigvalsh(gram).numpy()[::-1], 0.0)
    return _rank(squares, max(rows, columns))


def shuffled(blocks: Iterable[Tensor], seed: int) -> Iterator[Tensor]:
    """Each block with its entries in random places: as many changed, by the same values, and no structure within it."""
    rng = np.random.default_rng(seed)
    for block in blocks:
        yield block.reshape(-1)[torch.from_numpy(rng.permutation(block.numel()))].reshape(block.shape)


def _rank(squares: np.ndarray[tuple[int], np.dtype[np.float64]], longer: int) -> Rank:
    largest = float(squares[0]) if squares.size else 0.0
    if largest == 0:
        return Rank(squares.size, 0, math.nan, math.nan, 0)
    # What rounding leaves of zeros must not add up in the entropy, where even small σ weigh.
    squares = np.where(squares > squares.size * _FP64 * largest, squares, 0.0)
    values = np.sqrt(squares / largest)
    shares = values[values > 0] / values.sum()
    energy = np.cumsum(squares)
    return Rank(
        full=squares.size,
        numerical=int(np.count_nonzero(values > longer * _FP32)),
        stable=float(energy[-1] / largest),
        entropy=float(np.exp(-np.sum(shares * np.log(shares)))),
        energy_99=int(np.searchsorted(energy, 0.99 * energy[-1])) + 1,
    )
