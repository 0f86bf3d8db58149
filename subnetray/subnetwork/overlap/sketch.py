"""A seeded sample of coordinates, the same for every run: overlaps of thousands of runs, with their standard errors.

What is sampled of masks and inits are masks and weights again, of fewer coordinates, so that strata and arranged masks
are made of them as of whole ones (see ``strata``):

    drawn = sample(mask.shapes, 1_000_000, seed=0)
    strata = ulp_strata(drawn.weights(init))
    estimates = estimate(drawn, [strata.arrange(drawn.mask(mask)) for mask in masks], [strata.arrange(drawn.mask(new))])
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.subnetwork.mask import Mask, pack, require_same_shapes
from subnetray.subnetwork.overlap.nulls import Reals, shared
from subnetray.subnetwork.overlap.strata import Arranged, Counts
from subnetray.subnetwork.weights import Weights


@dataclass(frozen=True, eq=False)
class Sample:
    """Coordinates drawn without replacement from tensors of ``shapes``: for each its ``positions`` (flat, ascending).

    ``by_tensor``: each tensor was given its share of the sample; otherwise it was drawn from all coordinates alike.
    """

    shapes: dict[str, tuple[int, ...]]
    positions: dict[str, Counts]
    by_tensor: bool

    @property
    def n(self) -> int:
        """Coordinates drawn."""
        return sum(part.size for part in self.positions.values())

    def mask(self, mask: Mask) -> Mask:
        """``mask`` at the drawn coordinates; raises ``MismatchError`` for a mask of other tensors."""
        require_same_shapes(self.shapes, mask.shapes)
        bits = {name: pack(bits_at(mask.bits[name], part)) for name, part in self.positions.items()}
        return Mask(bits, {name: (part.size,) for name, part in self.positions.items()})

    def weights(self, weights: Weights) -> dict[str, torch.Tensor]:
        """``weights`` at the drawn coordinates; raises ``MismatchError`` for other tensors."""
        require_same_shapes(self.shapes, {name: tuple(tensor.shape) for name, tensor in weights.items()})
        return {name: weights[name].reshape(-1)[torch.from_numpy(part)] for name, part in self.positions.items()}


@dataclass(frozen=True, eq=False)
class Estimate:
    """Estimates of R × C pairs and their standard errors (R, C) over samples; ``excess`` is k12 − what strata expect.

    The standard errors are those of linearised estimators: for samples of many coordinates, not for a handful.
    """

    k12: Reals
    k12_se: Reals
    o1: Reals
    o1_se: Reals
    o2: Reals
    o2_se: Reals
    excess: Reals
    excess_se: Reals


def sample(shapes: Mapping[str, tuple[int, ...]], size: int, seed: int, by_tensor: bool = True) -> Sample:
    """Draw ``size`` coordinates of tensors of ``shapes``, all if there are no more; the same for the same arguments.

    ``by_tensor`` gives each tensor its share, two at least: more exact where the density of masks varies by tensor.
    """
    rng = np.random.default_rng(seed)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    n = sum(sizes.values())
    size = min(size, n)
    positions = {}
    if by_tensor:
        for name, many in sizes.items():
            positions[name] = _draw(rng, many, min(many, max(2, round(size * many / n))) if n else 0)
    else:
        drawn, first = _draw(rng, n, size), 0
        for name, many in sizes.items():
            begin, end = np.searchsorted(drawn, (first, first + many))
            positions[name] = drawn[begin:end] - first
            first += many
    return Sample(dict(shapes), positions, by_tensor)


def bits_at(bits: npt.NDArray[np.uint8], positions: Counts) -> npt.NDArray[np.bool_]:
    """The bits of a packed array at ``positions``."""
    return (bits[positions >> 3] >> (positions & 7).astype(np.uint8) & 1).view(np.bool_)


def estimate(drawn: Sample, rows: Sequence[Arranged], columns: Sequence[Arranged]) -> Estimate:
    """Overlap of the masks from which ``rows`` and ``columns`` were drawn, each arranged by strata of the sample.

    Exact, with standard errors of 0, where the sample is everything.
    """
    strata = rows[0].strata
    n, k12 = strata.n.astype(float), shared(rows, columns).astype(float)
    k1 = np.stack([mask.k for mask in rows]).astype(float)[:, None, :]
    k2 = np.stack([mask.k for mask in columns]).astype(float)[None, :, :]
    # The strata of each part that was sampled by itself, and how many coordinates one drawn there stands for.
    sizes = np.array([math.prod(shape) for shape in drawn.shapes.values()], np.int64)
    if drawn.by_tensor:
        starts = strata.tensor[:-1][sizes > 0]
        population = sizes[sizes > 0].astype(float)
    else:
        starts, population = np.zeros(1, np.int64), np.array([sizes.sum()], float)
    taken = np.add.reduceat(n, starts)
    weight = population / taken
    each = np.repeat(weight, np.diff(np.append(starts, n.size)))

    def parts(values: Reals) -> Reals:
        return np.add.reduceat(values, starts, axis=-1)

    def error(total: Reals, squares: Reals) -> Reals:
        """Standard error of a weighted sum over the sample, from the sums of its terms and of their squares by part."""
        variance = np.maximum(squares - total**2 / taken, 0) / np.maximum(taken - 1, 1)
        return np.sqrt((population**2 * (1 - taken / population) / taken * variance).sum(axis=-1))

    both = (each * k12).sum(axis=-1)
    found: dict[str, Any] = {"k12": both, "k12_se": error(parts(k12), parts(k12))}
    for name, k in (("o1", k1), ("o2", k2)):
        whole = (each * k).sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = both / whole
            # A ratio errs as the sum of what its numerator differs from what the ratio says: 1 − o, −o, or 0 outside.
            o = ratio[..., None]
            residual = parts(k12) - o * parts(k)
            squares = parts(k12) * (1 - o) ** 2 + parts(k - k12) * o**2
            found |= {name: ratio, f"{name}_se": error(residual, squares) / whole}
    # Within a stratum, excess is the covariance of the two bits: the sum of (x − x̄)(y − ȳ), with one degree of freedom
    # less in the sample and, of all coordinates, in the stratum.
    x, y = k1 / n, k2 / n
    excess = k12 - k1 * k2 / n
    freedom = np.where(n > 1, (each * n - 1) / np.maximum(n - 1, 1) / each, 1)
    squares = (
        k12 * ((1 - x) * (1 - y)) ** 2
        + (k1 - k12) * ((1 - x) * y) ** 2
        + (k2 - k12) * (x * (1 - y)) ** 2
        + (n - k1 - k2 + k12) * (x * y) ** 2
    )
    found["excess"] = (each * freedom * excess).sum(axis=-1)
    found["excess_se"] = error(parts(excess), parts(squares))
    return Estimate(**found)


def _draw(rng: np.random.Generator, n: int, size: int) -> Counts:
    if size == n:
        return np.arange(n)
    return np.sort(rng.choice(n, size, replace=False, shuffle=False))
