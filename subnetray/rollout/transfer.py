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

from subnetray.subnetwork.compiled import compiled
from subnetray.subnetwork.hashing import block_hash
from subnetray.subnetwork.mask import pack, unpack
from subnetray.subnetwork.scatter import put

Bits = npt.NDArray[Any]  # the coordinates of a tensor as integers of their width, flat (see ``subnetwork.bits``)

# A gap of this many unchanged coordinates or more is written as this byte and what is left of it.
_LONG = 255
_TOGETHER = 32  # coordinates that are looked at at once for whether any has changed


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
    values, code = np.empty_like(new), np.empty(-(-new.size // 8), np.uint8)
    count, size = _changes(old, new, values, code)
    if not count:
        return None
    if count * new.itemsize + min(size, code.size) >= new.nbytes:
        return whole(new.copy())
    # Copies, which do not hold the memory that there might have been need for.
    if size <= code.size:
        return Piece(values[:count].copy(), code[:size].copy())
    return Piece(values[:count].copy(), pack(old != new), packed=True)


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


@compiled
def _changes(old: Bits, new: Bits, values: Bits, code: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Write what ``new`` has where it differs, and the code of its gaps as far as there is room for it.

    Returns how many coordinates differ, and how many bytes the code has or would have.
    """
    count, size, last = 0, 0, -1
    for first in range(0, new.size, _TOGETHER):
        stop = min(first + _TOGETHER, new.size)
        if _equal(old[first:stop], new[first:stop]):
            continue
        for i in range(first, stop):
            if old[i] != new[i]:
                values[count] = new[i]
                count += 1
                gap, last = i - last - 1, i
                for _ in range(gap // _LONG):
                    if size < code.size:
                        code[size] = _LONG
                    size += 1
                if size < code.size:
                    code[size] = gap % _LONG
                size += 1
    return count, size


@compiled
def _equal(old: Bits, new: Bits) -> bool:
    different = old.dtype.type(0)
    for i in range(old.size):
        different |= old[i] ^ new[i]
    return different == 0


def _indices(code: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    ends = code != _LONG
    # A final byte stands for its gap and for the changed coordinate after it.
    return np.cumsum(code + ends.astype(np.int64))[ends] - 1
