"""How near a run's final is to another's from the same init: what "the same weights" means in arXiv 2505.11711.

Equality up to a tolerance says little by itself: Adam moves a coordinate by about the learning rate a step at most, so
that Σ lr bounds how far two finals can be apart, whatever the runs did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.visible import MismatchError, require_same_names
from subnetray.subnetwork.weights import Weights


@dataclass(frozen=True)
class DistanceToRun:
    """``relative`` = ‖final − other‖ / ‖other − init‖, NaN where the other is the init.

    By tolerance, as shares of all coordinates: ``equal``, those that are at most so far apart, and ``bound``, those
    that could not be farther apart.
    """

    relative: float
    equal: dict[float, float]
    bound: dict[float, float] | None


def distance_to_run(
    final: Weights,
    other: Weights,
    init: Weights,
    tolerances: Sequence[float],
    displacements: tuple[float, float] | None = None,
) -> DistanceToRun:
    """Measure how far ``final`` is from ``other``; differences are made in fp64, of weights of any dtypes on the host.

    ``displacements``: by how much a coordinate can have moved at most on the way to each of both, as on a master copy
    of the weights that is rounded once (see :func:`subnetray.subnetwork.reachable`). Without them there is no bound.
    Holds four tensors of the size of the largest in fp64. Raises :class:`MismatchError` for other names or shapes.
    """
    require_same_names(final, other)
    require_same_names(final, init)
    n, apart, moved = 0, 0.0, 0.0
    equal, bound = dict.fromkeys(tolerances, 0), dict.fromkeys(tolerances, 0)
    for name, tensor in init.items():
        one, two, start = (each.detach().cpu().double() for each in (final[name], other[name], tensor))
        if not one.shape == two.shape == start.shape:
            raise MismatchError(f"tensor {name!r} has shapes {[*one.shape]}, {[*two.shape]} and {[*start.shape]}")
        distance = (one - two).abs_()
        n += distance.numel()
        apart += float(distance.square().sum())
        moved += float((two - start).square_().sum())
        for tolerance in tolerances:
            equal[tolerance] += int((distance <= tolerance).sum())
        if displacements is not None:
            most = _most(tensor.detach().cpu(), displacements, (final[name].dtype, other[name].dtype))
            for tolerance in tolerances:
                bound[tolerance] += int((most <= tolerance).sum())
    return DistanceToRun(
        relative=math.sqrt(apart) / math.sqrt(moved) if moved else math.nan,
        equal={tolerance: ratio(count, n) for tolerance, count in equal.items()},
        bound=None if displacements is None else {tolerance: ratio(count, n) for tolerance, count in bound.items()},
    )


def _most(init: Tensor, displacements: tuple[float, float], dtypes: tuple[torch.dtype, torch.dtype]) -> Tensor:
    """The largest distance of two finals in these dtypes that both displacements allow, fp64."""
    wide = init.to(torch.promote_types(init.dtype, torch.float32))
    # Rounding is monotone: the ends of both intervals are the farthest.
    (low, high), (other_low, other_high) = (
        [(wide + sign * reach).to(dtype).double() for sign in (-1, 1)]
        for reach, dtype in zip(displacements, dtypes, strict=True)
    )
    return torch.maximum(high - other_low, other_high - low)
