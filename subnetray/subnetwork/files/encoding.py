"""The steps of a delta as they are stored: half a byte for each that fits, as nearly all of an update in bf16 do.

A step is what the integer that holds a weight moves by, modulo its range (see ``bits``). Steps are stored block by
block of :data:`BLOCK` coordinates, as the bytes of a stream: for a block one byte that says how wide its steps are,
then those of its marked coordinates in order.

- 0: signed halves of bytes, the lower half of a byte first, 0 standing for each step that does not fit. If there are
  such, they follow as if they were those of a block, of another width.
- 1: signed bytes, 0 standing for each that does not fit; these follow, little-endian, in the width of the weights.
- the width of the weights: all are stored so.

Halves are taken unless half of the steps are too long for them, and bytes where they take fewer than all in full width.
So a block has at most one byte more than the values of its changed weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.hashing import BLOCK
from subnetray.subnetwork.loops.compiled import compiled

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

    All of them differ. There must be room for a byte and those of ``new``.
    """
    n, end = old.size, 1 + (old.size + 1) // 2
    long = _halve(old, new, stream[1:end])
    if long + 2 > n // 2 and long > 0:
        return _encode_bytes(old, new, stream)
    stream[0] = 0
    if long > 0:
        olds, news = np.empty(long, old.dtype), np.empty(long, new.dtype)
        at = 0
        for i in range(n):
            if (stream[1 + i // 2] >> (4 * (i % 2))) & 15 == 0:
                olds[at], news[at] = old[i], new[i]
                at += 1
        end += _encode_bytes(olds, news, stream[end:])
    return end


@compiled
def _halve(old: Bits, new: Bits, halves: Bytes) -> int:
    """Steps as signed halves of bytes, 0 where they do not fit; returns how many do not."""
    kind, long = old.dtype.type, 0
    for i in range(old.size // 2):
        low, high = kind(new[2 * i] - old[2 * i]), kind(new[2 * i + 1] - old[2 * i + 1])
        low_fits, high_fits = -8 <= low < 8, -8 <= high < 8
        low, high = low & 15 if low_fits else 0, high & 15 if high_fits else 0
        halves[i] = np.uint8(low | (high << 4))
        long += (not low_fits) + (not high_fits)
    if old.size % 2:
        low = kind(new[-1] - old[-1])
        fits = -8 <= low < 8
        halves[-1] = np.uint8(low & 15 if fits else 0)
        long += not fits
    return long


@compiled
def _encode_bytes(old: Bits, new: Bits, stream: Bytes) -> int:
    """:func:`encode` in bytes, or in full width."""
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
        taken = _decode_block(stream[at:], steps[begin : begin + count])
        if taken == 0:
            return False
        at, begin = at + taken, begin + count
    return at == stream.size


@compiled
def _decode_block(stream: Bytes, steps: Bits) -> int:
    """Fill ``steps`` from the beginning of a stream; returns how many bytes they took, 0 if it does not hold them."""
    end = 1 + (steps.size + 1) // 2
    if stream.size == 0 or stream[0] != 0:
        return _decode_bytes(stream, steps)
    if end > stream.size:
        return 0
    zeros = _double(stream[1:end], steps)
    if zeros == 0:
        return end
    long = np.empty(zeros, steps.dtype)
    taken, at = _decode_bytes(stream[end:], long), 0
    for i in range(steps.size):
        if steps[i] == 0:
            steps[i] = long[at]
            at += 1
    return end + taken if taken > 0 else 0


@compiled
def _double(halves: Bytes, steps: Bits) -> int:
    """Steps of signed halves of bytes; returns how many are 0."""
    zeros = 0
    for i in range(steps.size):
        half = (halves[i // 2] >> (4 * (i % 2))) & 15
        steps[i] = np.int64(half ^ 8) - 8
        zeros += half == 0
    return zeros


@compiled
def _decode_bytes(stream: Bytes, steps: Bits) -> int:
    """:func:`_decode_block` of bytes, or of full width."""
    end = 1 + steps.size
    if stream.size == 0:
        return 0
    if stream[0] == 1:
        if end > stream.size:
            return 0
        zeros = _widen(stream[1:end], steps)
        taken = _read(stream[end:], steps, False) if zeros else 0
        return end + taken if taken == zeros * steps.itemsize else 0
    taken = _read(stream[1:], steps, True) if stream[0] == steps.itemsize else 0
    return 1 + taken if taken == steps.size * steps.itemsize and stream[0] == steps.itemsize else 0


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
