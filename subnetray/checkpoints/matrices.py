"""Two checkpoints matrix by matrix: ranks of the update, its geometry, and how few coordinates carry it.

One matrix is in memory at a time, in both checkpoints' formats, with 11 bytes a coordinate beside them (Δ or the
principal part in fp32, masks, strata) and four fp64 squares of its shorter side. The largest of an 8 B model, an
embedding of 128,256 × 4,096, takes 8 GiB; a layer's matrix of 14,336 × 4,096 takes 1.3 GiB, and of one core 37 s for
its ranks and 77 s for its geometry.

Spectra are exact for matrices of a shorter side of at most :data:`subnetray.subnetwork.update.spectrum.EXACT`, and
randomised, with their error, beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.checkpoints.match import Match, Matching, Skipped
from subnetray.subnetwork.bits import from_integers
from subnetray.subnetwork.update.energy import Concentration, concentration
from subnetray.subnetwork.update.geometry import Geometry, matrix_geometry
from subnetray.subnetwork.update.rank import SHUFFLED, Rank, RankBounds, rank, rank_bounds, shuffled
from subnetray.subnetwork.update.spectrum import EXACT, blocks_of

NO_MATRIX = "no matrix"  # why norms and biases are skipped
_CHUNK = 1 << 20  # coordinates read at a time
_DIRECTIONS = 256  # of randomised ranks


@dataclass(frozen=True, eq=False)
class MatrixFindings:
    """What was found of one matrix; ``null`` are the ranks of its Δ shuffled. What was not asked for is None."""

    name: str
    shape: tuple[int, int]
    rank: Rank | RankBounds | None
    null: Rank | RankBounds | None
    geometry: Geometry | None
    concentration: Concentration | None


@dataclass(frozen=True)
class Asked:
    """These findings of matrices are asked for."""

    ranks: bool
    geometry: bool


def matrices(matching: Matching, dtype: torch.dtype | None, asked: Asked) -> Iterator[MatrixFindings | Skipped]:
    """Findings of every matrix of ``matching``, in its order, in ``dtype`` (None: that of each final tensor).

    A tensor of more than two dimensions is as many matrices as its last two make, named ``name[0]``, ``name[1]``, …;
    other tensors, and matrices that are empty or have no spectrum (NaN, Inf), are skipped with the reason.
    """
    for each in matching.matches:
        if len(each.shape) < 2:
            yield Skipped(each.name, NO_MATRIX)
            continue
        rows, columns = each.shape[-2:]
        size = rows * columns
        for index in range(math.prod(each.shape[:-2])):
            name = each.name if len(each.shape) == 2 else f"{each.name}[{index}]"
            part = slice(index * size, (index + 1) * size)
            old, new = (tensor.reshape(rows, columns) for tensor in _read(matching, each, part, dtype))
            try:
                yield _study(name, old, new, asked) if size else Skipped(name, "it has no coordinates")
            except ValueError as error:
                yield Skipped(name, str(error))


def whole_concentration(matching: Matching, dtype: torch.dtype | None) -> Concentration:
    """Concentration of the update over all coordinates compared: reads both checkpoints three to five times.

    Raises ``ValueError`` where a coordinate is not finite.
    """

    def read() -> Iterator[npt.NDArray[np.float64]]:
        for each in matching.matches:
            for start in range(0, each.n, _CHUNK):
                part = slice(start, min(start + _CHUNK, each.n))
                yield _distance(*_read(matching, each, part, dtype))

    return concentration(read)


def _study(name: str, old: Tensor, new: Tensor, asked: Asked) -> MatrixFindings:
    shape = (old.shape[0], old.shape[1])
    found: Rank | RankBounds | None = None
    null: Rank | RankBounds | None = None
    if asked.ranks:
        found, null = _ranks(new.to(torch.promote_types(new.dtype, torch.float32), copy=True).sub_(old))

    def read() -> Iterator[npt.NDArray[np.float64]]:
        height = max(1, _CHUNK // shape[1])
        yield from (_distance(one, two) for one, two in zip(old.split(height), new.split(height), strict=True))

    return MatrixFindings(
        name=name,
        shape=shape,
        rank=found,
        null=null,
        geometry=matrix_geometry(old, new) if asked.geometry else None,
        concentration=concentration(read) if asked.geometry else None,
    )


def _ranks(delta: Tensor) -> tuple[Rank, Rank] | tuple[RankBounds, RankBounds]:
    mixed = shuffled(blocks_of(delta, SHUFFLED), seed=0)
    if min(delta.shape) <= EXACT:
        return rank(blocks_of(delta), delta.shape), rank(mixed, delta.shape)
    along = 0 if delta.shape[0] >= delta.shape[1] else 1
    return rank_bounds(delta, _DIRECTIONS), rank_bounds(torch.cat(list(mixed), dim=along), _DIRECTIONS)


def _read(matching: Matching, each: Match, part: slice, dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
    """Some coordinates (C order) of a tensor of both, flat."""
    kind = matching.dtype(each, dtype)
    old, new = (
        from_integers(side.read(name, part.start, part.stop, kind), kind)
        for side, name in ((matching.init, each.init), (matching.final, each.final))
    )
    return old, new


def _distance(one: Tensor, two: Tensor) -> npt.NDArray[np.float64]:
    distance: npt.NDArray[np.float64] = (two.double() - one.double()).abs_().reshape(-1).numpy()
    return distance
