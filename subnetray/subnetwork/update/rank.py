"""Rank of an update, by four definitions, beside that of the same entries put anywhere.

"Full rank" by itself says little: random numbers in a random one per cent of a 1024 × 1024 matrix have nearly full
numerical rank already. What an update's structure adds shows against :func:`shuffled`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from subnetray.subnetwork.update.spectrum import (
    Reals,
    blocks_of,
    bound_rest,
    range_basis,
    singular_values,
    squared_norm,
    transposed_times,
)
from subnetray.subnetwork.weights import Weights

# Shorter side of the matrices that a run ranks: a larger one takes a minute of a core.
LARGEST = 2048
SHUFFLED = 1 << 24  # entries that change places among themselves
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


@dataclass(frozen=True)
class RankBounds:
    """What ``directions`` random directions tell of the ranks of a matrix too large for all of its singular values.

    ``captured`` is the share of Σσ² that the directions hold. ``numerical``, ``stable`` and ``energy_99`` (as in
    :class:`Rank`) are (lowest, highest); the true ranks are within them with probability 1 - 1e-10.
    """

    full: int
    directions: int
    captured: float
    numerical: tuple[int, int]
    stable: tuple[float, float]
    energy_99: tuple[int, int]


@dataclass(frozen=True)
class MeanRanks:
    """Ranks of some matrices of an update, as shares of the full rank, mean over them; ``shuffled``: of their entries.

    ``update`` and ``shuffled`` are by definition, named as in :class:`Rank`; each is 0 of a matrix of zeros.
    ``matrices``: how many were ranked, ``of`` how many that the model has.
    """

    matrices: int
    of: int
    update: dict[str, float]
    shuffled: dict[str, float]


def mean_ranks(init: Weights, final: Weights, most: int) -> MeanRanks | None:
    """Rank the update of at most ``most`` matrices, spread evenly over the model; None where there is none to rank.

    Those of a shorter side beyond :data:`LARGEST` are left out. Of a tensor of three dimensions, as experts are stored,
    every matrix is one. Memory: two fp32 copies of one matrix, and four fp64 squares of its shorter side.
    """
    every = [
        (name, index)
        for name, tensor in final.items()
        if tensor.dim() in (2, 3) and tensor.numel()
        for index in range(tensor.shape[0] if tensor.dim() == 3 else 1)
    ]
    known = [(name, index) for name, index in every if min(final[name].shape[-2:]) <= LARGEST]
    count = min(most, len(known))
    if not count:
        return None
    found: list[dict[str, float]] = []
    nulls: list[dict[str, float]] = []
    for place in range(count):
        name, index = known[(2 * place + 1) * len(known) // (2 * count)]
        old, new = (weights[name].reshape(-1, *weights[name].shape[-2:])[index] for weights in (init, final))
        delta = new.to(torch.promote_types(new.dtype, torch.float32), copy=True).sub_(old)
        found.append(_shares(rank(blocks_of(delta), delta.shape)))
        nulls.append(_shares(rank(shuffled(blocks_of(delta, SHUFFLED), seed=place), delta.shape)))
    return MeanRanks(count, len(every), _means(found), _means(nulls))


def _shares(of: Rank) -> dict[str, float]:
    ranks = {"numerical": of.numerical, "stable": of.stable, "entropy": of.entropy, "energy_99": of.energy_99}
    return {name: 0.0 if math.isnan(value) else value / of.full for name, value in ranks.items()}


def _means(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: math.fsum(each[name] for each in shares) / len(shares) for name in shares[0]}


def rank(blocks: Iterable[Tensor], shape: Sequence[int]) -> Rank:
    """Ranks of the matrix of ``shape`` (rows, columns) that ``blocks`` make, from all its singular values.

    Blocks, memory and errors as in :func:`subnetray.subnetwork.update.spectrum.singular_values`, whose precision is far
    below what ``numerical`` counts.
    """
    return _rank(np.square(singular_values(blocks, shape)), max(shape))


def rank_bounds(matrix: Tensor, directions: int) -> RankBounds:
    """Bounds on the ranks of a matrix of any size, from a randomised subspace and a bound on what it leaves.

    The subspace holds B = QQᵀA with σi(B) ≤ σi(A), and A = B + R with ‖R‖ ≤ r gives σi(A)² ≤ σi(B)² + r². Memory:
    3 × ``directions`` × (rows + columns) fp64 numbers. Raises ``ValueError`` as :func:`rank` does.
    """
    rows, columns = matrix.shape
    full = min(rows, columns)
    total = squared_norm(matrix)
    basis = range_basis(matrix, min(directions, full))
    inside = transposed_times(matrix, basis)
    if total == 0:
        return RankBounds(full, basis.shape[1], math.nan, (0, 0), (math.nan, math.nan), (0, 0))
    low = torch.linalg.svdvals(inside).square().numpy()
    rest = bound_rest(matrix, basis) ** 2
    high = low + rest
    tolerance = (max(rows, columns) * _FP32) ** 2
    # Beyond the directions every σ² is at most ``rest``, and together they are what the directions do not hold.
    at_least = np.cumsum(high)
    missing = 0.99 * total - at_least[-1]
    fewest = int(np.searchsorted(at_least, 0.99 * total)) + 1 if missing <= 0 else low.size + math.ceil(missing / rest)
    held = np.cumsum(low)
    most = int(np.searchsorted(held, 0.99 * total)) + 1 if held[-1] >= 0.99 * total else full
    return RankBounds(
        full=full,
        directions=low.size,
        captured=min(1.0, float(held[-1]) / total),
        numerical=(
            int(np.count_nonzero(low > tolerance * high[0])),
            int(np.count_nonzero(high > tolerance * low[0])) if rest <= tolerance * low[0] else full,
        ),
        stable=(total / float(high[0]), total / float(low[0])),
        energy_99=(min(fewest, most), most),
    )


def shuffled(blocks: Iterable[Tensor], seed: int) -> Iterator[Tensor]:
    """Each block with its entries in random places: as many changed, by the same values, and no structure within it."""
    rng = np.random.default_rng(seed)
    for block in blocks:
        yield block.reshape(-1)[torch.from_numpy(rng.permutation(block.numel()))].reshape(block.shape)


def _rank(squares: Reals, longer: int) -> Rank:
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
