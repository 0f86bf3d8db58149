"""Visibility by other measures than |Δ| ≤ τ: ULPs, relative change, energy; and what an update could reach at all.

An absolute tolerance means another thing at every magnitude of a weight; these do not. Visible bit for bit (see
``visible``) remains the primary definition, and :func:`exceeds_ulps` at 1 is it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork.bits import flat_integers, float_format
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.visible import changed, require_same_layout
from subnetray.subnetwork.weights import Weights


def exceeds_ulps(init: Tensor, final: Tensor, ulps: int) -> Tensor:
    """Boolean tensor on the host: where ``final`` is at least ``ulps`` (>= 1) representable values away from ``init``.

    Between numbers of either sign the steps through 0 count, ±0 being one value. Where either is NaN there is no
    distance, and the coordinate counts if its bits changed.
    """
    if ulps < 1:
        raise ValueError(f"ulps must be a whole number >= 1, not {ulps}")
    a, b = _ordered(init), _ordered(final)
    # Modulo 2^64 the difference of the larger and the smaller is exact, even where int64 would overflow.
    steps = np.maximum(a, b).view(np.uint64) - np.minimum(a, b).view(np.uint64)
    far = torch.from_numpy(steps >= np.uint64(ulps)).reshape(init.shape)
    undefined = (init.isnan() | final.isnan()).cpu()
    return torch.where(undefined, changed(init, final).cpu(), far)


def exceeds_relative(init: Tensor, final: Tensor, share: float) -> Tensor:
    """Boolean tensor: where |Δ| is more than ``share`` of the larger magnitude, in fp64.

    A share of 1e-3 is that of arXiv 2511.08567. In bf16 a step between normal numbers is at least 2^-8 of the larger
    one: among them any share below that is visibility bit for bit. Where Δ is not finite, the coordinate counts if its
    bits changed.
    """
    a, b = init.detach().double(), final.detach().double()
    distance = (b - a).abs_()
    beyond = (distance > share * torch.maximum(a.abs(), b.abs())) | ~distance.isfinite()
    return beyond & changed(init, final)


def reachable(init: Tensor, displacement: float, dtype: torch.dtype) -> Tensor:
    """Boolean tensor: which coordinates, exported in ``dtype``, could change if each moves by ``displacement`` at most.

    With Adam a step moves a coordinate by about the learning rate at most, so that Σ lr bounds what training can make
    visible. Moves are made in fp32 (fp64 for fp64), as on a master copy of the weights.
    """
    wide = init.detach().to(torch.promote_types(init.dtype, torch.float32))
    exported = wide.to(dtype)
    # Rounding is monotone: if neither end of the interval is exported as another value, nothing within it is.
    return changed(exported, (wide - displacement).to(dtype)) | changed(exported, (wide + displacement).to(dtype))


def energy_masks(init: Weights, final: Weights, shares: Sequence[float]) -> dict[float, Mask]:
    """For each of ``shares`` (in (0, 1]) the smallest mask that holds this share of ΣΔ², over all tensors together.

    Of coordinates of equal |Δ| the first are taken (order of tensors, then C order). Sums are made in fp64, largest
    first. Holds one tensor in fp64 and 24 bytes for each coordinate with Δ ≠ 0. Raises ``MismatchError`` when layouts
    differ, ``ValueError`` for other shares and, naming the tensor, for a Δ that is not finite.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"shares of energy must be in (0, 1], not {share}")
    require_same_layout(init, final)
    positions: dict[str, npt.NDArray[np.intp]] = {}
    magnitudes: list[npt.NDArray[np.float64]] = []
    for name, tensor in init.items():
        delta = (final[name].detach().double() - tensor.detach().double()).abs_().reshape(-1).cpu().numpy()
        if not np.isfinite(delta).all():
            raise ValueError(f"the update of tensor {name!r} is not finite: it has no energy")
        positions[name] = np.flatnonzero(delta)
        magnitudes.append(delta[positions[name]])
    flat = np.concatenate(magnitudes) if magnitudes else np.empty(0)
    order = np.argsort(-flat, kind="stable")
    # Brought near 1, squares neither overflow nor vanish together; a power of two rounds nothing.
    energy = np.cumsum(np.square(np.ldexp(flat[order], -np.frexp(flat.max(initial=0.0))[1])))
    masks = {}
    for share in shares:
        count = int(np.searchsorted(energy, share * energy[-1])) + 1 if flat.size else 0
        chosen = np.zeros(flat.size, np.bool_)
        chosen[order[:count]] = True
        masks[share] = _mask(init, positions, chosen)
    return masks


def _mask(like: Weights, positions: dict[str, npt.NDArray[np.intp]], chosen: npt.NDArray[np.bool_]) -> Mask:
    bools, start = {}, 0
    for name, tensor in like.items():
        at = positions[name]
        flat = np.zeros(math.prod(tensor.shape), np.bool_)
        flat[at] = chosen[start : start + at.size]
        start += at.size
        bools[name] = torch.from_numpy(flat).reshape(tensor.shape)
    return Mask.from_bools(bools)


def _ordered(tensor: Tensor) -> npt.NDArray[np.int64]:
    """Integers in the order of the numbers (NaN outermost), neighbours one apart, both zeros 0; flat."""
    bits = flat_integers(tensor).astype(np.int64)
    largest = torch.iinfo(float_format(tensor.dtype).integer).max
    return np.where(bits < 0, -(bits & largest), bits)
