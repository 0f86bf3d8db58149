"""What travels from a run to an engine: weights whole, or the coordinates that changed since weights it holds.

Weights are named by their content: a digest over the hash of every tensor. So an update can say exactly what it
applies to and what must come out, whoever sends it, and an engine can tell whether it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from subnetray.subnetwork.hashing import block_hash
from subnetray.subnetwork.loops.compiled import compiled
from subnetray.subnetwork.loops.kernels import Room, differences
from subnetray.subnetwork.loops.scatter import put
from subnetray.subnetwork.mask import unpack

Bits = npt.NDArray[Any]  # the coordinates of a tensor as integers of their width, flat (see ``subnetwork.bits``)

# A gap of this many unchanged coordinates or more is written as this byte and what is left of it.
_LONG = 255
# Coordinates that are compared at a time: what is found stays in the cache. A multiple of 64.
_BLOCK = 1 << 18
# What the bits may be of: whether they are numbers is of no interest here.
_FLOATS = {2: torch.bfloat16, 4: torch.float32}


class SyncError(RuntimeError):
    """An engine does not hold the weights that its run published; names the tensor, or the probe's distance."""


@dataclass(frozen=True)
class Piece:
    """The new values of one tensor's changed coordinates, in order, and where they are.

    ``positions`` is None where every coordinate is sent. Else it is the shorter of two codes: one bit a coordinate
    (``packed``, as in masks), or, for each changed one, the number of unchanged coordinates before it in as many bytes
    as needed: 255 for every 255, then the rest. Below a density of an eighth a position costs little more than a byte.
    """

    values: Bits
    positions: npt.NDArray[np.uint8] | None
    packed: bool = False

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.positions is None else self.positions.nbytes)


@dataclass(frozen=True)
class Update:
    """From the weights of digest ``base`` (None: from nothing) to those of ``digest``.

    ``hashes`` holds the hash that each tensor has afterwards, ``pieces`` the tensors that change. ``shared`` weights
    serve as a base many times, and of many runs; others belong to one run, which moves on from them.
    """

    digest: str
    base: str | None
    hashes: Mapping[str, str]
    pieces: Mapping[str, Piece]
    shared: bool = False

    @property
    def nbytes(self) -> int:
        return sum(piece.nbytes for piece in self.pieces.values())


def whole(bits: Bits) -> Piece:
    """The piece that sets all coordinates."""
    return Piece(bits, None)


def difference(old: Bits, new: Bits) -> Piece | None:
    """The smallest piece that turns ``old`` into ``new``; None if they are equal."""
    values, words = _changes(old, new)
    if not values.size:
        return None
    bits = words.view(np.uint8)[: -(-new.size // 8)]
    # A coordinate takes a byte at least: of more there need not be looked.
    code = _code(words, values.size) if values.size <= bits.size else bits
    positions, packed = (bits, True) if code.size >= bits.size else (code, False)
    if values.nbytes + positions.nbytes >= new.nbytes:
        return whole(new.copy())
    return Piece(values, positions, packed)


def write(piece: Piece, bits: Bits) -> None:
    """Set the coordinates of ``bits`` that ``piece`` says; raises ValueError where it does not fit."""
    if piece.positions is None:
        bits[:] = piece.values
    elif piece.packed:
        where = unpack(piece.positions, bits.size)
        if np.count_nonzero(where) != piece.values.size:
            raise ValueError(f"{piece.values.size} values for {np.count_nonzero(where)} coordinates")
        put(piece.values, where, bits)
    else:
        bits[_indices(piece.positions)] = piece.values


def hash_of(bits: Bits) -> str:
    """Checksum of a tensor's coordinates."""
    return block_hash(bits).hex()


def _changes(old: Bits, new: Bits) -> tuple[Bits, npt.NDArray[np.uint64]]:
    """What ``new`` has where it differs, and a bit a coordinate, packed as in masks, of whether it does."""
    dtype, words = _FLOATS[new.itemsize], np.zeros(-(-new.size // 64), np.uint64)
    room = Room.of(min(new.size, _BLOCK), dtype)
    values = []
    for first in range(0, new.size, _BLOCK):
        bits, _, _, found, _, _ = differences(old[first : first + _BLOCK], new[first : first + _BLOCK], dtype, room)
        words.view(np.uint8)[first // 8 :][: bits.size] = bits
        values.append(found.copy())  # the next block is found in the same room
    return np.concatenate(values), words


def _code(words: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.uint8]:
    """The code of the gaps before ``count`` bits that are set."""
    code = np.empty(count + words.size * 64 // _LONG, np.uint8)
    return code[: _write_code(words, code)].copy()


@compiled
def _write_code(words: npt.NDArray[np.uint64], code: npt.NDArray[np.uint8]) -> int:
    size, last = 0, -1
    for w in range(words.size):
        left = words[w]
        while left:
            place = 64 * w + _lowest(left)
            left &= left - np.uint64(1)
            gap, last = place - last - 1, place
            while gap >= _LONG:
                code[size] = _LONG
                size += 1
                gap -= _LONG
            code[size] = gap
            size += 1
    return size


@intrinsic  # type: ignore[untyped-decorator]
def _lowest(_: Any, word: Any) -> Any:
    """Which bit is the lowest of those that are set."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(word), generate


def _indices(code: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    ends = code != _LONG
    # A final byte stands for its gap and for the changed coordinate after it.
    return np.cumsum(code + ends.astype(np.int64))[ends] - 1
