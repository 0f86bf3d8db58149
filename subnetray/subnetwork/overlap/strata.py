"""Strata: which coordinates are compared with which; and masks whose bits lie stratum by stratum.

Bits in order of strata make a stratified count of two masks as cheap as a plain one: a stratum is a range of words, and
what two masks share in it is one AND and one population count a word. Putting a mask's bits in that order takes longer
than counting a pair, and is done once a mask, however many others it is counted with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork.bits import boundary_bins, exponents
from subnetray.subnetwork.loops.compiled import compiled
from subnetray.subnetwork.mask import Mask, require_same_shapes
from subnetray.subnetwork.visible import require_same_names
from subnetray.subnetwork.weights import Weights

# Coordinates put in order at a time, a multiple of 64: two bytes say where each goes, and their bits stay in the cache.
_BLOCK = 1 << 16
_WORD = 64

Counts = npt.NDArray[np.int64]
Ids = npt.NDArray[np.unsignedinteger[Any]]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class _Order:
    """How the bits of one tensor are put in order, for each of B blocks of coordinates and each of its S strata.

    ``position`` (n,) uint16: the coordinates of each block (counted from its first), by stratum, ascending within one;
    ``size`` (B, S): how many of them each stratum has; ``word`` (B, S): the word, counted from the tensor's first, at
    which the bits of a block and stratum begin.
    """

    position: npt.NDArray[np.uint16]
    size: Counts
    word: Counts


@dataclass(frozen=True, eq=False)
class Strata:
    """A partition of the coordinates of tensors of given ``shapes`` into S strata, each within one tensor.

    ``n`` (S,): coordinates of each stratum; ``tensor`` (tensors + 1,): the first stratum of each tensor, then S;
    ``word`` (S + 1,): the first word of each stratum in arranged masks, then their number of words.
    """

    shapes: dict[str, tuple[int, ...]]
    n: Counts
    tensor: Counts
    word: Counts
    _orders: dict[str, _Order]

    def arrange(self, mask: Mask) -> Arranged:
        """The bits of ``mask`` in the order of these strata; raises ``MismatchError`` if its tensors are others."""
        require_same_shapes(self.shapes, mask.shapes)
        words = np.zeros(int(self.word[-1]), np.uint64)
        for index, name in enumerate(self.shapes):
            order, bits = self._orders[name], mask.bits[name]
            here = words[self.word[self.tensor[index]] : self.word[self.tensor[index + 1]]]
            if order.size.shape[1] == 1:
                here.view(np.uint8)[: bits.size] = bits  # in order already
            elif bits.size:
                _arrange(_padded(bits), _BLOCK // 32, order.position, order.size, order.word, here)
        # reduceat takes no empty ranges, and there are none: a stratum has a coordinate, and so a word.
        ones = np.bitwise_count(words)
        k = np.add.reduceat(ones, self.word[:-1], dtype=np.int64) if self.n.size else np.zeros(0, np.int64)
        return Arranged(words, k, self)

    def ids(self, name: str) -> Ids:
        """The number of each coordinate's stratum in one tensor, flat: as strata are made of by :func:`strata_of`."""
        order, n = self._orders[name], math.prod(self.shapes[name])
        ids = np.zeros(n, np.min_scalar_type(max(order.size.shape[1] - 1, 0)))
        if order.position.size:
            _number(order.position, order.size, _BLOCK, ids)
        return ids


@dataclass(frozen=True, eq=False)
class Arranged:
    """A mask in the order of ``strata``: its bits as ``words`` (uint64), and ``k`` (S,), its coordinates by stratum.

    Every stratum begins a new word; the bits between are 0.
    """

    words: Words
    k: Counts
    strata: Strata


def ulp_strata(init_a: Weights, init_b: Weights | None = None, exported: torch.dtype | None = None) -> Strata:
    """Strata by tensor and exponent of |w_init|: all coordinates of one have the same spacing of representable values.

    Of two inits, by both exponents, since each run's visibility follows its own. ``exported``: the dtype that runs are
    compared in, where an init may be stored in a wider one. Then how near a weight lies to the next boundary is common
    to all runs too, and decides what is visible: strata are also by that distance. Raises ``MismatchError`` when the
    two have other names or shapes.
    """
    shapes = _shapes(init_a)
    if init_b is not None:
        require_same_shapes(shapes, _shapes(init_b))
    ids = {name: ulp_ids(tensor, None if init_b is None else init_b[name], exported) for name, tensor in init_a.items()}
    return strata_of(ids, shapes)


def ulp_ids(init_a: Tensor, init_b: Tensor | None = None, exported: torch.dtype | None = None) -> Ids:
    """The number of each coordinate's stratum in :func:`ulp_strata` of one tensor, flat: 0, 1, … by ascending exponent.

    As narrow as the number of strata permits, one byte in almost every case.
    """
    ids = _ranks(init_a.numel(), lambda part: _codes(init_a, part, exported))
    if init_b is None or not ids.size:
        return ids
    others = _ranks(init_b.numel(), lambda part: _codes(init_b, part, exported))
    count = int(others.max()) + 1
    return _ranks(ids.size, lambda part: ids[part].astype(np.uint32) * np.uint32(count) + others[part])


def _codes(init: Tensor, part: slice, exported: torch.dtype | None) -> npt.NDArray[np.uint32]:
    """Return the codes that strata are made by: in the order of exponents, then of distances from far to near."""
    stored = init.detach().reshape(-1)[part]
    if exported is None or stored.dtype == exported:
        return exponents(stored).astype(np.uint32)
    by_exponent = exponents(stored.to(exported)).astype(np.uint32) << np.uint32(8)
    return by_exponent | boundary_bins(stored, exported).astype(np.uint32)


def _ranks(n: int, codes: Callable[[slice], npt.NDArray[np.uint32]]) -> Ids:
    """Rank the codes of ``n`` coordinates among those that occur, as np.unique does.

    Block by block: in linear time and little memory.
    """
    parts = [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
    occurs = np.zeros(1, np.bool_)
    for part in parts:
        code = codes(part)
        if (highest := int(code.max())) >= occurs.size:
            occurs = np.concatenate([occurs, np.zeros(highest + 1 - occurs.size, np.bool_)])
        occurs[code] = True
    rank = np.cumsum(occurs) - 1
    narrow = rank.astype(np.min_scalar_type(max(int(rank[-1]), 0)))
    ids = np.empty(n, narrow.dtype)
    for part in parts:
        np.take(narrow, codes(part), out=ids[part])
    return ids


def tensor_strata(mask: Mask) -> Strata:
    """One stratum a tensor, over the coordinates of ``mask``."""
    return strata_of({name: np.zeros(math.prod(shape), np.uint8) for name, shape in mask.shapes.items()}, mask.shapes)


def strata_of(ids: Mapping[str, Ids], shapes: Mapping[str, tuple[int, ...]]) -> Strata:
    """Strata from the number of each coordinate's stratum (flat, C order): for every tensor 0, 1, …, each occurring."""
    require_same_names(ids, shapes)
    sizes: list[Counts] = []
    orders = {}
    for name in shapes:
        orders[name] = _ordered(ids[name])
        sizes.append(orders[name].size.sum(axis=0))
    n = np.concatenate([np.zeros(0, np.int64), *sizes])
    # Each block of a stratum begins a new word, so that blocks can be written by themselves.
    words = [(-(-order.size // _WORD)).sum(axis=0) for order in orders.values()]
    return Strata(
        shapes=dict(shapes),
        n=n,
        tensor=np.cumsum([0, *(size.size for size in sizes)]),
        word=np.cumsum(np.concatenate([np.zeros(1, np.int64), *words])),
        _orders=orders,
    )


def _shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def _ordered(ids: Ids) -> _Order:
    blocks, strata = -(-ids.size // _BLOCK), int(ids.max()) + 1 if ids.size else 0
    size = np.zeros((blocks, strata), np.int64)
    # Of a single stratum the order is the one that is there.
    position = np.empty(ids.size if strata > 1 else 0, np.uint16)
    if strata > 1:
        _sort(ids, _BLOCK, position, size)
    elif strata:
        size[:] = _BLOCK
        size[-1] -= blocks * _BLOCK - ids.size
    words = -(-size // _WORD)
    flat = words.T.ravel()  # stratum by stratum, in each block by block
    return _Order(position, size, (np.cumsum(flat) - flat).reshape(strata, blocks).T.copy())


def _padded(bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """``bits`` as 32-bit words, without a copy where they fill such words."""
    if bits.size % 4:
        bits = np.concatenate([bits, np.zeros(-bits.size % 4, np.uint8)])
    return bits.view(np.uint32)


@compiled
def _sort(ids: Ids, block: int, position: npt.NDArray[np.uint16], size: Counts) -> None:
    """Counting sort of each block by stratum; fills ``position`` and ``size`` of :class:`_Order`."""
    for b in range(size.shape[0]):
        here = ids[b * block : (b + 1) * block]
        for i in range(here.size):
            size[b, here[i]] += 1
        place = b * block + np.cumsum(size[b]) - size[b]
        for i in range(here.size):
            position[place[here[i]]] = i
            place[here[i]] += 1


@compiled
def _number(position: npt.NDArray[np.uint16], size: Counts, block: int, ids: Ids) -> None:
    """Fill ``ids`` from an order: the inverse of :func:`_sort`."""
    first = 0
    for b in range(size.shape[0]):
        here = ids[b * block : (b + 1) * block]
        for s in range(size.shape[1]):
            for i in range(first, first + size[b, s]):
                here[position[i]] = s
            first += size[b, s]


@compiled
def _bit(words: npt.NDArray[np.uint32], position: np.uint16) -> np.uint64:
    at = np.uint32(position)
    return np.uint64(words[at >> np.uint32(5)] >> (at & np.uint32(31)) & np.uint32(1))


@compiled
def _arrange(
    bits: npt.NDArray[np.uint32],
    block: int,
    position: npt.NDArray[np.uint16],
    size: Counts,
    word: Counts,
    words: Words,
) -> None:
    """Gather the bits of one tensor, ``block`` times 32 at a time, into ``words``."""
    first = 0
    for b in range(size.shape[0]):
        here = bits[b * block : (b + 1) * block]
        for s in range(size.shape[1]):
            source = position[first : first + size[b, s]]
            first += source.size
            begin, full = word[b, s], source.size // 64
            for w in range(full):
                part = source[64 * w : 64 * w + 64]
                bits_of_word = np.uint64(0)
                for j in range(64):  # a constant, so that the loop is unrolled
                    bits_of_word |= _bit(here, part[j]) << np.uint64(j)
                words[begin + w] = bits_of_word
            rest = source[64 * full :]
            for j in range(rest.size):
                words[begin + full] |= _bit(here, rest[j]) << np.uint64(j)
