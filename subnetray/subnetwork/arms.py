"""Arms: masks of a given budget to restrict training to, beside the one that a run found.

Each has exactly the coordinates that were asked for. What is drawn, and which of equal scores come in, a seed decides:
of equals, the first ones would put stripes into the mask (few |w| occur in bf16, and each many times).

================== =========================== ====================================================================
``random``         k of all coordinates
``random_per_…``   each tensor's own count     what a mask of each tensor's density does
``ulp_matched``    each ULP stratum's own      what visibility alone explains (see ``strata``)
``complement``     as many, outside the mask
``low_magnitude``  each tensor's own count     smallest |w| (arXiv 2511.08567)
``principal``      each tensor's own count     largest in the leading directions (arXiv 2506.00772; see ``geometry``)
``top``            k of all coordinates        largest of any score: |g|, Fisher, SNIP, |Δ| after t steps
``top_per_tensor`` each tensor's own count     the same
================== =========================== ====================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork.bits import ordered_integers
from subnetray.subnetwork.loops.compiled import compiled
from subnetray.subnetwork.mask import Mask, pack, require_same_shapes
from subnetray.subnetwork.overlap.strata import ulp_ids
from subnetray.subnetwork.selection import kth_smallest
from subnetray.subnetwork.update.spectrum import decompose
from subnetray.subnetwork.weights import Weights

_CHUNK = 1 << 20  # coordinates at a time

Shapes = Mapping[str, tuple[int, ...]]
Counts = npt.NDArray[np.int64]
Ids = npt.NDArray[np.unsignedinteger[Any]]


def random(shapes: Shapes, k: int, seed: int) -> Mask:
    """``k`` coordinates of tensors of these shapes, every set of k being as likely."""
    n = sum(math.prod(shape) for shape in shapes.values())
    _require_budget(k, n)
    rng, left, take = np.random.default_rng(seed), np.array([n]), np.array([k])
    return _mask(shapes, {name: _draw(_zeros(shape), left, take, rng) for name, shape in shapes.items()})


def random_per_tensor(like: Mask, seed: int) -> Mask:
    """As many coordinates of every tensor as in ``like``."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, shape in like.shapes.items():
        n, k = math.prod(shape), _count(like, name)
        drawn[name] = _draw(_zeros(shape), np.array([n]), np.array([k]), rng)
    return _mask(like.shapes, drawn)


def ulp_matched(like: Mask, init: Weights, seed: int) -> Mask:
    """As many coordinates of every ULP stratum (tensor and exponent of the initial weight) as in ``like``.

    Raises ``MismatchError`` if the mask's tensors are others.
    """
    _require_same(like, init)
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, tensor in init.items():
        ids = ulp_ids(tensor)
        n = np.bincount(ids)
        drawn[name] = _draw(ids, n, np.bincount(ids[like.flat(name)], minlength=n.size), rng)
    return _mask(like.shapes, drawn)


def complement(like: Mask, seed: int) -> Mask:
    """As many coordinates as ``like`` has, all outside of it (``~like`` are all of them).

    Raises ``ValueError`` where fewer are outside.
    """
    if 2 * like.k > like.n:
        raise ValueError(f"a mask of {like.k} of {like.n} coordinates leaves fewer than it has outside of it")
    rng, left, take = np.random.default_rng(seed), np.array([like.n - like.k, like.k]), np.array([like.k, 0])
    return _mask(like.shapes, {name: _draw(like.flat(name).view(np.uint8), left, take, rng) for name in like.shapes})


def low_magnitude(like: Mask, init: Weights, seed: int) -> Mask:
    """The coordinates of smallest |w| of every tensor, as many as in ``like``."""
    return top_per_tensor(like, {name: -tensor.detach().abs() for name, tensor in init.items()}, seed)


def principal(like: Mask, init: Weights, seed: int, directions: int | None = None) -> Mask:
    """Where the part of every matrix in its leading directions is largest, in as many coordinates as in ``like``.

    ``directions``: an eighth of the shorter side, 128 at most, unless given. A vector is its own leading part, as a
    matrix of one row is; a tensor of more dimensions counts as one matrix of its last dimension.
    """
    return top_per_tensor(like, {name: _principal_part(tensor, directions) for name, tensor in init.items()}, seed)


def top(scores: Weights, k: int, seed: int) -> Mask:
    """The ``k`` coordinates of largest score; raises ``ValueError`` for a score that is NaN."""
    shapes = {name: tuple(score.shape) for name, score in scores.items()}
    return _mask(shapes, _largest(scores, k, np.random.default_rng(seed)))


def top_per_tensor(like: Mask, scores: Weights, seed: int) -> Mask:
    """The coordinates of largest score of every tensor, as many as in ``like``; as :func:`top` otherwise."""
    _require_same(like, scores)
    rng = np.random.default_rng(seed)
    chosen: dict[str, npt.NDArray[np.bool_]] = {}
    for name, score in scores.items():
        chosen |= _largest({name: score}, _count(like, name), rng)
    return _mask(like.shapes, chosen)


def _largest(scores: Weights, k: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.bool_]]:
    """The ``k`` coordinates of largest score, flat by tensor; those that score as the k-th does are drawn from."""
    n = sum(score.numel() for score in scores.values())
    _require_budget(k, n)

    def read() -> Iterator[npt.NDArray[np.uint64]]:
        return chain.from_iterable(map(_codes, scores.values()))

    least = np.uint64(kth_smallest(read, 64, n - k + 1) if k else 2**64 - 1)
    equal = above = 0
    for score in scores.values():
        for codes in _codes(score):
            equal, above = equal + int((codes == least).sum()), above + int((codes > least).sum())
    # Of the coordinates below none are taken, of equal ones what is left of the budget, of those above all.
    left, take = np.array([0, equal, above]), np.array([0, k - above if k else 0, above])
    chosen = {}
    for name, score in scores.items():
        parts = [(codes >= least).view(np.uint8) + (codes > least).view(np.uint8) for codes in _codes(score)]
        ids = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
        left[0] += int((ids == 0).sum())
        chosen[name] = _draw(ids, left, take, rng)
    return chosen


def _codes(score: Tensor) -> Iterator[npt.NDArray[np.uint64]]:
    """Unsigned integers of the same order as the scores, part by part; raises ``ValueError`` for NaN."""
    for part in score.detach().reshape(-1).split(_CHUNK):
        if part.isnan().any():
            raise ValueError("a score is NaN: it is neither above nor below the others")
        yield ordered_integers(part.double())  # every narrower format is exact in fp64


def _principal_part(tensor: Tensor, directions: int | None) -> Tensor:
    """Magnitudes of a tensor's part in its leading directions, fp32."""
    if tensor.dim() < 2 or not tensor.numel():
        return tensor.detach().abs()
    matrix = tensor.detach().cpu().reshape(-1, tensor.shape[-1])
    found = decompose(matrix, directions or max(1, min(128, min(matrix.shape) // 8)))
    scaled = (found.left * torch.from_numpy(found.values[: found.k].copy())).float()
    return (scaled @ found.right.float().T).abs_().reshape(tensor.shape)


def _draw(ids: Ids, left: Counts, take: Counts, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw ``take[s]`` of the ``left[s]`` coordinates that are in each stratum s, every such set being as likely.

    Where a stratum goes on in another tensor, both arrays are of what is still to come, and are brought up to date.
    """
    chosen = np.zeros(ids.size, np.bool_)
    for start in range(0, ids.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        _select(ids[part], rng.random(chosen[part].size), left, take, chosen[part])
    return chosen


@compiled
def _select(
    ids: Ids, uniform: npt.NDArray[np.float64], left: Counts, take: Counts, chosen: npt.NDArray[np.bool_]
) -> None:
    """Selection sampling (Knuth, TAOCP 2, algorithm 3.4.2 S): one pass, where numpy would sort random keys."""
    for i in range(ids.size):
        s = ids[i]
        if uniform[i] * left[s] < take[s]:
            chosen[i] = True
            take[s] -= 1
        left[s] -= 1


def _mask(shapes: Shapes, chosen: Mapping[str, npt.NDArray[np.bool_]]) -> Mask:
    return Mask({name: pack(chosen[name]) for name in shapes}, dict(shapes))


def _zeros(shape: tuple[int, ...]) -> Ids:
    return np.zeros(math.prod(shape), np.uint8)


def _count(mask: Mask, name: str) -> int:
    return int(np.bitwise_count(mask.bits[name]).sum(dtype=np.int64))


def _require_same(like: Mask, weights: Weights) -> None:
    require_same_shapes(like.shapes, {name: tuple(tensor.shape) for name, tensor in weights.items()})


def _require_budget(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"k must be from 0 to the {n} coordinates that there are, not {k}")
