"""The steps of a delta as they are stored: one byte for each that fits into one, as nearly all of an update in bf16 do.

A step is what the integer that holds a weight moves by, modulo its range (see ``bits``). Steps are stored block by
block of :data:`BLOCK` coordinates, as the bytes of a stream: for a block one byte that says how wide its steps are,
then those of its marked coordinates in order. Of width 1 they are signed bytes, 0 standing for each that does not fit
into one; these follow, little-endian, in the width of the weights. Where this takes no fewer bytes, all have the width
of the weights. So a block has at most one byte more than the values of its changed weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.compiled import compiled
from subnetray.subnetwork.hashing import BLOCK

Bits = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

_PIECE = 1024  # steps that are looked at at once for some that are too long for a byte


def stream_bytes(n: int, itemsize: int) -> int:
    """Bytes that the steps of ``n`` coordinates of ``itemsize`` bytes take at most."""
    return -(-n // BLOCK) + n * itemsize


def pack_steps(steps: Bits, mask: Bytes) -> Bytes:
    """The stream of ``steps``, one for each coordinate that ``mask`` (packed, see ``Mask``) marks."""
    stream = np.empty(-(-mask.size * 8 // BLOCK) + steps.nbytes, np.uint8)
    zeros = np.zeros(min(BLOCK, steps.size), steps.dtype)
    at = first = 0
    for count in _counts(mask).tolist():
        at += encode(zeros[:count], steps[first : first + count], stream[at:])
        first += count
    return stream[:at]


def unpack_steps(stream: Bytes, mask: Bytes, integer: np.dtype[Any]) -> Bits:
    """Inverse of :func:`pack_steps`; raises ``ValueError`` unless ``stream`` has a step for each mark of ``mask``."""
    counts = _counts(mask)
    steps = np.empty(counts.sum(), integer)
    if not _decode(stream, counts, steps):
        raise ValueError("not one step for every coordinate that is marked")
    return steps


def _counts(mask: Bytes) -> npt.NDArray[np.int64]:
    """Marked coordinates of each block."""
    starts = np.arange(0, mask.size, BLOCK // 8)
    return np.add.reduceat(np.bitwise_count(mask), starts, dtype=np.int64) if mask.size else np.zeros(0, np.int64)


@compiled
def encode(old: Bits, new: Bits, stream: Bytes) -> int:
    """Write the steps from ``old`` to ``new``, all of one block, to the beginning of ``stream``; returns its bytes.

    There must be room for a byte and those of ``new``.
    """
    n, width = old.size, old.itemsize
    stream[0], end = 1, 1 + n
    for start in range(0, n, _PIECE):
        piece = slice(start, min(start + _PIECE, n))
        far = _narrow(old[piece], new[piece], stream[1 + piece.start : 1 + piece.stop])
        if far:
            if end + far * width > 1 + n * width:
                stream[0] = width
                return 1 + _write(old, new, stream[:0], stream[1:])
            end += _write(old[piece], new[piece], stream[1 + piece.start : 1 + piece.stop], stream[end:])
    return end


@compiled
def _narrow(old: Bits, new: Bits, short: Bytes) -> int:
    """Steps as signed bytes, 0 where they do not fit; returns how many do not."""
    kind, far = old.dtype.type, 0
    for i in range(old.size):
        step = kind(new[i] - old[i])
        byte = np.int8(step)
        fits = kind(byte) == step
        short[i] = np.uint8(byte) if fits else np.uint8(0)
        far += not fits
    return far


@compiled
def _write(old: Bits, new: Bits, short: Bytes, stream: Bytes) -> int:
    """Write the steps in their full width, all or those whose ``short`` is 0; returns how many bytes that are."""
    at = 0
    for i in range(old.size):
        if short.size == 0 or short[i] == 0:
            step = np.int64(new[i] - old[i])
            for byte in range(old.itemsize):
                stream[at + byte] = np.uint8(step >> (8 * byte))
            at += old.itemsize
    return at


@compiled
def _decode(stream: Bytes, counts: npt.NDArray[np.int64], steps: Bits) -> bool:
    """Fill ``steps`` block by block; False if the stream is not that of so many."""
    at = begin = 0
    for count in counts:
        block = steps[begin : begin + count]
        if at == stream.size or at + 1 + count > stream.size:
            return False
        if stream[at] == 1:
            far, at = _widen(stream[at + 1 :], block), at + 1 + count
            taken = _read(stream[at:], block, False) if far else 0
        elif stream[at] == steps.itemsize:
            far, at = count, at + 1
            taken = _read(stream[at:], block, True)
        else:
            return False
        if taken != far * steps.itemsize:
            return False
        at, begin = at + taken, begin + count
    return at == stream.size


@compiled
def _widen(short: Bytes, steps: Bits) -> int:
    """Steps of signed bytes; returns how many are 0."""
    zeros = 0
    for i in range(steps.size):
        byte = np.int8(short[i])
        steps[i] = byte
        zeros += byte == 0
    return zeros


@compiled
def _read(stream: Bytes, steps: Bits, whole: bool) -> int:
    """Steps in their full width, all or those that are 0; returns how many bytes that are, fewer if the stream ends."""
    at = 0
    for i in range(steps.size):
        if whole or steps[i] == 0:
            if at + steps.itemsize > stream.size:
                break
            step = np.int64(0)
            for byte in range(steps.itemsize):
                step |= np.int64(stream[at + byte]) << (8 * byte)
            steps[i] = step
            at += steps.itemsize
    return at
