"""Singular values and leading singular vectors of a weight matrix: exact up to a size, randomised beyond it.

Exact means by eigenvalues of the Gram matrix of the shorter side, in fp64: σ below 2e-8·√full·σ1 cannot be told from 0,
and the k leading vectors are right to about 2e-16·σ1²/(σk² − σk+1²). Randomised is subspace iteration from a random
start (Halko, Martinsson and Tropp, SIAM Review 53, 2011, algorithm 4.4); what it may have missed is bounded afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# The longest shorter side that is decomposed exactly: that of every matrix of a Llama or Qwen model of 8 B.
EXACT = 4096
_BLOCK = 1 << 20  # entries of a matrix that are widened to fp64 at a time
_ITERATIONS = 4  # of the subspace; each squares once more how fast directions beyond it die away
_PROBES, _POWER = 10, 8  # of the bound on what a subspace leaves
# Not the same: the bound holds for vectors that the subspace does not depend on.
_START_SEED, _PROBE_SEED = 0, 1

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A matrix of ``shape`` by its k leading directions: ``left`` (rows, k) and ``right`` (columns, k), fp64.

    ``values`` are all its singular values σ1 ≥ σ2 ≥ … if ``exact``, else the k leading ones (each at most the true
    one). ``energy`` is Σσ² over all, exactly. ``gap`` is σk − σk+1 as found, and ``residual`` the spectral norm of
    A·right − left·diag(σ): a true leading subspace is within asin(residual/gap) of the one here (Wedin 1972).
    """

    shape: tuple[int, int]
    values: Reals
    left: Tensor
    right: Tensor
    energy: float
    exact: bool
    gap: float
    residual: float

    @property
    def k(self) -> int:
        """Leading directions."""
        return self.left.shape[1]

    @property
    def captured(self) -> float:
        """Share of ``energy`` in the k leading directions; NaN of zeros."""
        return float(np.square(self.values[: self.k]).sum()) / self.energy if self.energy else math.nan

    @property
    def subspace_error(self) -> float:
        """Bound in radians on the angle between the leading subspaces here and the true ones; 0 if ``exact``."""
        return 0.0 if self.exact else math.asin(min(1.0, self.residual / self.gap)) if self.gap > 0 else math.pi / 2


def singular_values(blocks: Iterable[Tensor], shape: Sequence[int]) -> Reals:
    """All singular values, largest first, of the matrix of ``shape`` that ``blocks`` make: its rows or its columns.

    Blocks are whole along the shorter side (rows, of a square one) and follow one another along the other, in any
    order; ``[matrix]`` will do. Memory: two fp64 squares of the shorter side, and a block.

    Raises ``ValueError`` where an entry is not finite, or too large to be squared in fp64.
    """
    squares = torch.linalg.eigvalsh(_gram(blocks, shape)).numpy()[::-1]
    values: Reals = np.sqrt(np.maximum(squares, 0.0))
    return values


def decompose(matrix: Tensor, k: int) -> Spectrum:
    """The ``k`` leading directions of a matrix (fewer where fewer σ can be told from 0), and its singular values.

    Exact if the shorter side is at most :data:`EXACT`. Memory: four fp64 squares of the shorter side if exact, else
    4k·(rows + columns) fp64 numbers. Raises ``ValueError`` as :func:`singular_values` does.
    """
    return _exact(matrix, k) if min(matrix.shape) <= EXACT else _randomised(matrix, k)


def principal_angles(a: Tensor, b: Tensor) -> Reals:
    """Angles in radians, smallest first, between the spaces that two sets of orthonormal columns span.

    Small angles come from sines and large ones from cosines, so that both are right to fp64 (Björck and Golub 1973).
    """
    if a.shape[1] > b.shape[1]:
        a, b = b, a
    inside = b.T @ a
    cosines = torch.linalg.svdvals(inside).numpy()
    sines = torch.linalg.svdvals(a - b @ inside).numpy()[::-1]
    angles: Reals = np.arctan2(sines, cosines)
    return angles


def bound_rest(matrix: Tensor, basis: Tensor) -> float:
    """Upper bound on the spectral norm of what of ``matrix`` is orthogonal to ``basis`` (rows, k; orthonormal columns).

    Fails with probability 1e-10 for a basis of other random numbers (Halko, Martinsson and Tropp, lemma 4.1, applied to
    the power R(RᵀR)^8 of the rest R, whose norm is ‖R‖^17): 10 random vectors, 17 products with the matrix.
    """
    noise = torch.randn(matrix.shape[1], _PROBES, generator=_generator(_PROBE_SEED), dtype=torch.float64)
    scale = 0.0  # logarithm of what was divided out: powers of a norm leave the range of fp64
    for step in range(2 * _POWER + 1):
        noise = _off(times(matrix, noise), basis) if step % 2 == 0 else transposed_times(matrix, _off(noise, basis))
        largest = float(noise.abs().max())
        if largest == 0:
            return 0.0
        noise /= largest
        scale += math.log(largest)
    norm = math.log(10 * math.sqrt(2 / math.pi) * float(torch.linalg.vector_norm(noise, dim=0).max()))
    return math.exp((norm + scale) / (2 * _POWER + 1))


def range_basis(matrix: Tensor, size: int) -> Tensor:
    """Orthonormal columns (rows, ``size``) of a subspace that holds the leading left directions of ``matrix``."""
    start = torch.randn(matrix.shape[1], size, generator=_generator(_START_SEED), dtype=torch.float64)
    basis = torch.linalg.qr(times(matrix, start))[0]
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(transposed_times(matrix, basis))[0]
        basis = torch.linalg.qr(times(matrix, basis))[0]
    return basis


def squared_norm(matrix: Tensor, less: Tensor | None = None) -> float:
    """Σσ² of ``matrix`` (``less`` another), the sum of its squared entries, in fp64.

    Raises ``ValueError`` where it is not finite.
    """
    energy = 0.0
    for rows, block in _row_blocks(matrix):
        wide = block.double() if less is None else block.double() - less[rows].double()
        energy += float(wide.square().sum())
    if not math.isfinite(energy):
        raise ValueError(_NO_SPECTRUM)
    return energy


def times(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix @ right in fp64, of a matrix in any format."""
    return torch.cat([block.double() @ right for _, block in _row_blocks(matrix)])


def transposed_times(matrix: Tensor, left: Tensor) -> Tensor:
    """matrix.T @ left in fp64, of a matrix in any format."""
    product = torch.zeros(matrix.shape[1], left.shape[1], dtype=torch.float64)
    for rows, block in _row_blocks(matrix):
        product.addmm_(block.double().T, left[rows])
    return product


def blocks_of(matrix: Tensor, size: int = _BLOCK) -> Iterator[Tensor]:
    """``matrix`` as blocks of about ``size`` entries, whole along its shorter side: see :func:`singular_values`."""
    tall = matrix.shape[0] >= matrix.shape[1]
    for _, block in _row_blocks(matrix if tall else matrix.T, size):
        yield block if tall else block.T


def _exact(matrix: Tensor, k: int) -> Spectrum:
    rows, columns = matrix.shape
    squares, vectors = torch.linalg.eigh(_gram(blocks_of(matrix), matrix.shape))
    values: Reals = np.sqrt(np.maximum(squares.numpy()[::-1], 0.0))
    floor = 2e-8 * math.sqrt(values.size) * values[0] if values.size else 0.0
    k = min(k, int(np.count_nonzero(values > floor)))
    near = vectors.flip(1)[:, :k].contiguous()
    far = (times(matrix, near) if rows >= columns else transposed_times(matrix, near)) / torch.from_numpy(values[:k])
    # Orthonormal but for the rounding of the smallest of them.
    far, signs = torch.linalg.qr(far)
    far *= signs.diagonal().sign()
    left, right = (far, near) if rows >= columns else (near, far)
    gap = float(values[k - 1] - (values[k] if k < values.size else 0.0)) if k else 0.0
    return Spectrum((rows, columns), values, left, right, float(np.square(values).sum()), True, gap, 0.0)


def _randomised(matrix: Tensor, k: int) -> Spectrum:
    rows, columns = matrix.shape
    energy = squared_norm(matrix)
    # Twice as many directions as are asked for: what lies beyond them fades against the k-th.
    basis = range_basis(matrix, min(2 * k, rows, columns))
    right, sigma, turned = torch.linalg.svd(transposed_times(matrix, basis), full_matrices=False)
    values: Reals = sigma.numpy()
    k = min(k, int(np.count_nonzero(values > 2e-8 * math.sqrt(min(rows, columns)) * values[0])))
    left, right = basis @ turned[:k].T, right[:, :k]
    lost = times(matrix, right) - left * torch.from_numpy(values[:k])
    residual = float(torch.linalg.matrix_norm(lost, 2)) if k else 0.0
    gap = float(values[k - 1] - (values[k] if k < values.size else 0.0)) if k else 0.0
    return Spectrum((rows, columns), values[:k], left, right, energy, False, gap, residual)


def _gram(blocks: Iterable[Tensor], shape: Sequence[int]) -> Tensor:
    rows, columns = shape
    gram = torch.zeros(min(rows, columns), min(rows, columns), dtype=torch.float64)
    for block in blocks:
        wide = block.double() if rows >= columns else block.double().T
        gram.addmm_(wide.T, wide)
    if not gram.isfinite().all():
        raise ValueError(_NO_SPECTRUM)
    return gram


def _row_blocks(matrix: Tensor, size: int = _BLOCK) -> Iterator[tuple[slice, Tensor]]:
    height = max(1, size // max(1, matrix.shape[1]))
    for start in range(0, max(1, matrix.shape[0]), height):
        rows = slice(start, start + height)
        yield rows, matrix[rows]


def _off(vectors: Tensor, basis: Tensor) -> Tensor:
    return vectors - basis @ (basis.T @ vectors)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


_NO_SPECTRUM = "a matrix with entries that are not finite, or too large to be squared in fp64, has no rank"
