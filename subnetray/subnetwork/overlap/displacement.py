"""Updates side by side, for many pairs of runs: do they agree where both are visible, how far apart are their finals.

:func:`subnetray.subnetwork.overlap.table.agreement` asks the same of three sets of whole weights. Here what is needed
of a run is kept: its Δ at coordinates that all runs have in common, all of them or a sample (see ``sketch``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.bits import flat_integers, from_integers
from subnetray.subnetwork.delta import Delta
from subnetray.subnetwork.loops.compiled import compiled
from subnetray.subnetwork.overlap.sketch import Sample, bits_at
from subnetray.subnetwork.overlap.table import Agreement
from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.visible import MismatchError, require_same_names
from subnetray.subnetwork.weights import Weights

# Sums run in so many lanes, which fill the processor's vectors; a vector of Δ ends with zeros to a multiple of it.
_LANES = 16

Vector = npt.NDArray[np.float32]


def displacement(delta: Delta, init: Weights, drawn: Sample) -> Vector:
    """Δ at the coordinates of ``drawn`` in fp32, 0 where nothing changed, and up to 15 zeros behind them.

    ``init`` is what ``drawn.weights`` gives of the delta's init. Raises ``MismatchError`` for other tensors or dtypes.
    """
    require_same_names(drawn.shapes, delta.dtypes)
    vector = np.zeros(-(-drawn.n // _LANES) * _LANES, np.float32)
    first = 0
    for name, positions in drawn.positions.items():
        bits, old = delta.mask.bits[name], init[name]
        if delta.dtypes[name] != old.dtype or delta.mask.shapes[name] != drawn.shapes[name]:
            raise MismatchError(f"tensor {name!r} of the delta has another shape or dtype than the init's")
        inside = np.flatnonzero(bits_at(bits, positions))
        at = positions[inside]
        # A step's place among the steps is the number of positions before it.
        ones = np.bitwise_count(bits)
        before = (np.cumsum(ones, dtype=np.int64) - ones)[at >> 3]
        before += np.bitwise_count(bits[at >> 3] & ((1 << (at & 7)) - 1).astype(np.uint8))
        weights = flat_integers(old)[inside]
        new = from_integers(weights + delta.steps[name][before], old.dtype)
        vector[first + inside] = (new.double() - from_integers(weights, old.dtype).double()).numpy()
        first += positions.size
    return vector


def displacement_agreement(one: Vector, two: Vector) -> Agreement:
    """Agreement of two of :func:`displacement` where both are not 0; raises ``MismatchError`` for other lengths."""
    if one.shape != two.shape:
        raise MismatchError(f"displacements at {one.size} and {two.size} coordinates are not of one sample")
    n, same, dot, norm_one, norm_two = _sums(one, two)
    norm = math.sqrt(norm_one) * math.sqrt(norm_two)
    return Agreement(sign=same / n if n else math.nan, cosine=dot / norm if norm else math.nan, n=n)


@dataclass(frozen=True)
class Distance:
    """‖Δ₁ − Δ₂‖ as a share of ‖Δ₁‖ and of ‖Δ₂‖, NaN of nothing; by tolerance τ, the share with |Δ₁ − Δ₂| ≤ τ.

    ``inside_one`` is that share of the coordinates that the first changed: what neither changed is equal whatever they
    did.
    """

    of_one: float
    of_two: float
    equal: dict[float, float]
    inside_one: dict[float, float]
    inside_two: dict[float, float]


def displacement_distance(one: Vector, two: Vector, size: int, tolerances: Sequence[float]) -> Distance:
    """How far apart two finals are of which :func:`displacement` was taken at ``size`` coordinates.

    The reference for any claim that two runs end at the same weights. Differences are made in fp32, sums in fp64.
    Raises ``MismatchError`` for vectors of other lengths.
    """
    if one.shape != two.shape:
        raise MismatchError(f"displacements at {one.size} and {two.size} coordinates are not of one sample")
    difference = np.abs(one - two)
    changed = one != 0, two != 0
    sizes = [int(np.count_nonzero(each)) for each in changed]
    near, inside = [], []
    for tau in tolerances:
        close = difference <= np.float32(tau)
        near.append(int(np.count_nonzero(close)))
        inside.append([int(np.count_nonzero(close & each)) for each in changed])
    apart, norm_one, norm_two = (math.sqrt(_square(vector)) for vector in (difference, one, two))
    padding = one.size - size  # of zeros, which are equal
    return Distance(
        of_one=ratio(apart, norm_one),
        of_two=ratio(apart, norm_two),
        equal={tau: ratio(count - padding, size) for tau, count in zip(tolerances, near, strict=True)},
        inside_one={tau: ratio(count, sizes[0]) for tau, (count, _) in zip(tolerances, inside, strict=True)},
        inside_two={tau: ratio(count, sizes[1]) for tau, (_, count) in zip(tolerances, inside, strict=True)},
    )


@compiled
def _square(vector: Vector) -> float:
    """Σx² in fp64, without a copy of it."""
    total = np.zeros(16)
    for i in range(vector.size // 16):
        for lane in range(16):
            x = np.float64(vector[16 * i + lane])
            total[lane] += x * x
    return total.sum()


@compiled
def _sums(one: Vector, two: Vector) -> tuple[int, int, float, float, float]:
    """Where both are not 0: their number, that of equal signs, Σab, Σa², Σb², in one pass and without temporaries."""
    dot, norm_one, norm_two = np.zeros(16), np.zeros(16), np.zeros(16)
    n, same = np.zeros(16, np.int64), np.zeros(16, np.int64)
    for i in range(one.size // 16):
        for lane in range(16):
            a, b = one[16 * i + lane], two[16 * i + lane]
            both = (a != 0) & (b != 0)
            n[lane] += both
            same[lane] += both & ((a > 0) == (b > 0))
            x, y = np.float64(a), np.float64(b)
            dot[lane] += x * y
            norm_one[lane] += x * x if both else 0.0
            norm_two[lane] += y * y if both else 0.0
    return n.sum(), same.sum(), dot.sum(), norm_one.sum(), norm_two.sum()
