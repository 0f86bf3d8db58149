"""The loops that every comparison spends its time in, over the integers that hold weights (see ``bits``).

numpy's own need several passes or several times as long. Measured on 2^18 bf16 coordinates in the cache, one core with
AVX-512: :func:`tally` takes 0.09 ns a coordinate (numpy: 0.3), :func:`kept` 0.06 (``np.compress``: 0.6), :func:`put`
0.05 (assigning to a boolean index: 2.6). Without AVX-512 the last two are about as fast as numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from subnetray.subnetwork.bits import float_format
from subnetray.subnetwork.compiled import compiled

Bits = npt.NDArray[Any]

# Words summed before lanes of 16 bits could overflow.
_WORDS = 1 << 15
_PART = 1 << 11  # coordinates whose distances stay in the innermost cache
_VECTOR = 64  # bytes that `_keep` moves at once: the widest registers there are


def tally(old: Bits, new: Bits, dtype: torch.dtype) -> tuple[int, bool]:
    """How many coordinates are visible (their bits differ, ±0 being equal), and whether any is NaN or infinite.

    ``old`` and ``new`` are contiguous and hold numbers of ``dtype``.
    """
    lanes = 8 // old.itemsize
    whole = old.size // lanes * lanes
    visible, odd = _tally_words_of(old[:whole], new[:whole], dtype)
    if whole < old.size:
        rest = np.zeros((2, lanes), old.dtype)
        rest[:, : old.size - whole] = old[whole:], new[whole:]
        more, odder = _tally_words_of(rest[0], rest[1], dtype)
        visible, odd = visible + more, odd or odder
    return visible, odd


def kept(bits: Bits, keep: npt.NDArray[np.bool_], count: int) -> Bits:
    """``bits[keep]``, of which there are ``count``; both contiguous."""
    lanes = _VECTOR // bits.itemsize
    out = np.empty(count + lanes, bits.dtype)  # whole vectors are written
    whole = bits.size // lanes * lanes
    at = _keep(bits[:whole], keep[:whole].view(np.uint8), out)
    out[at:count] = bits[whole:][keep[whole:]]
    return out[:count]


def put(values: Bits, where: npt.NDArray[np.bool_], bits: Bits) -> None:
    """``bits[where] = values``, in place; all contiguous, ``values`` as many as there are marks."""
    whole = bits.size // (_VECTOR // bits.itemsize) * (_VECTOR // bits.itemsize)
    at = _put(values, where[:whole].view(np.uint8), bits[:whole])
    bits[whole:][where[whole:]] = values[at:]


def levels(old: Bits, new: Bits, tolerances: Sequence[float], ulps: Sequence[int]) -> tuple[list[int], list[int]]:
    """Of finite bf16 numbers: how many pairs have |Δ| > τ by τ, and how many are k representable values apart by k.

    Tolerances are compared in fp32. numpy needs some twenty passes for this, and other threads wait for each of them.
    """
    beyond, far = np.zeros(len(tolerances), np.int64), np.zeros(len(ulps), np.int64)
    _levels(old, new, np.array(tolerances, np.float32), np.array(ulps, np.int64), beyond, far)
    return beyond.tolist(), far.tolist()


def _tally_words_of(old: Bits, new: Bits, dtype: torch.dtype) -> tuple[int, bool]:
    size = old.itemsize
    magnitude = _repeated(np.iinfo(old.dtype).max, size)
    # Added to a magnitude whose exponent is all ones, this carries into the sign.
    carry = _repeated(1 << float_format(dtype).mantissa_bits, size)
    visible, odd = _tally(
        old.view(np.uint64), new.view(np.uint64), magnitude, carry, np.uint64(8 * size - 1), 8 // size
    )
    return int(visible), bool(odd)


def _repeated(value: int, itemsize: int) -> np.uint64:
    return np.uint64(sum(value << shift for shift in range(0, 64, 8 * itemsize)))


@compiled
def _tally(
    old: npt.NDArray[np.uint64],
    new: npt.NDArray[np.uint64],
    magnitude: np.uint64,
    carry: np.uint64,
    shift: np.uint64,
    lanes: int,
) -> tuple[int, bool]:
    # Several coordinates a word, which compilers turn into vectors of words. Adding all ones but the sign to a
    # magnitude sets the sign unless it is 0, and never carries into the next lane.
    visible, odd = 0, np.uint64(0)
    for start in range(0, old.size, _WORDS):
        sums, odds = _tally_words(old[start : start + _WORDS], new[start : start + _WORDS], magnitude, carry, shift)
        odd |= odds
        for lane in range(lanes):
            visible += int((sums >> np.uint64(lane * (64 // lanes))) & np.uint64(0xFFFF))
    return visible, (odd & ~magnitude) != 0


@compiled
def _tally_words(
    old: npt.NDArray[np.uint64],
    new: npt.NDArray[np.uint64],
    magnitude: np.uint64,
    carry: np.uint64,
    shift: np.uint64,
) -> tuple[np.uint64, np.uint64]:
    sums, odd = np.uint64(0), np.uint64(0)
    for i in range(old.size):
        a, b = old[i] & magnitude, new[i] & magnitude
        differing = ((a ^ b) + magnitude) | (old[i] ^ new[i])
        nonzero = (a | b) + magnitude
        sums += ((differing & nonzero) & ~magnitude) >> shift
        odd |= (a + carry) | (b + carry)
    return sums, odd


class _Vectors:
    """What the intrinsics below are made of: vectors of ``lanes`` numbers of an array's dtype, and of flags."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self._context, self.builder = context, builder
        self.width = context.get_data_type(dtype).width
        self.lanes = 8 * _VECTOR // self.width
        self.numbers, self.flags = self._of(self.width), self._of(8)
        self.chosen = self._of(1)

    def pointer(self, kind: Any, array: Any, index: Any, vector: Any) -> Any:
        """Address of the vector that begins at an index of an array."""
        data = cgutils.create_struct_proxy(kind)(self._context, self.builder, array).data
        return self.builder.bitcast(self.builder.gep(data, [index]), vector.as_pointer())

    def load(self, kind: Any, array: Any, index: Any, vector: Any) -> Any:
        return self.builder.load(self.pointer(kind, array, index, vector), align=1)

    def load_chosen(self, kind: Any, array: Any, index: Any) -> Any:
        """One bit a lane: whether the flag there is set."""
        flags = self.load(kind, array, index, self.flags)
        return self.builder.icmp_unsigned("!=", flags, ir.Constant(self.flags, [0] * self.lanes))

    def store(self, vector: Any, kind: Any, array: Any, index: Any) -> None:
        self.builder.store(vector, self.pointer(kind, array, index, vector.type), align=1)

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def count(self, chosen: Any) -> Any:
        word = ir.IntType(self.lanes)
        population = self.call(f"llvm.ctpop.i{self.lanes}", word, self.builder.bitcast(chosen, word))
        return self.builder.zext(population, ir.IntType(64))

    def _of(self, width: int) -> Any:
        return ir.VectorType(ir.IntType(width), self.lanes)


@compiled
def _levels(
    old: Bits,
    new: Bits,
    tolerances: npt.NDArray[np.float32],
    ulps: npt.NDArray[np.int64],
    beyond: npt.NDArray[np.int64],
    far: npt.NDArray[np.int64],
) -> None:
    # bf16 is the upper half of fp32. A part at a time, so that what is made of it stays in the cache.
    wide = np.empty((2, _PART), np.uint32)
    distances, steps = np.empty(_PART, np.float32), np.empty(_PART, np.int32)
    for start in range(0, old.size, _PART):
        a, b = old[start : start + _PART], new[start : start + _PART]
        _widen(a, wide[0])
        _widen(b, wide[1])
        _distances(wide[0].view(np.float32), wide[1].view(np.float32), distances)
        for level in range(tolerances.size):
            beyond[level] += _more_than(distances[: a.size], tolerances[level])
        _steps(a, b, steps)
        for level in range(ulps.size):
            far[level] += _more_than(steps[: a.size], ulps[level] - 1)


@compiled
def _widen(bits: Bits, wide: npt.NDArray[np.uint32]) -> None:
    for i in range(bits.size):
        wide[i] = np.uint32(bits[i]) << np.uint32(16)


@compiled
def _distances(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
    for i in range(out.size):
        out[i] = abs(b[i] - a[i])


@compiled
def _steps(a: Bits, b: Bits, out: npt.NDArray[np.int32]) -> None:
    # Magnitudes count the steps from 0: between numbers of one sign there is their difference, else their sum.
    for i in range(a.size):
        p, q = np.int32(a[i]) & np.int32(0x7FFF), np.int32(b[i]) & np.int32(0x7FFF)
        out[i] = p + q if (a[i] < 0) != (b[i] < 0) else abs(p - q)


@compiled
def _more_than(values: Bits, level: Any) -> int:
    count = 0
    for i in range(values.size):
        count += values[i] > level
    return count


@intrinsic  # type: ignore[untyped-decorator]
def _keep_vector(_: Any, bits: Any, keep: Any, out: Any, i: Any, at: Any) -> Any:
    """Write the kept ones of the vector at ``bits[i]`` to ``out[at]`` and what follows; returns how many there are.

    LLVM makes one instruction of it where there is AVX-512, and a short loop elsewhere.
    """

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        bits_at, keep_at, out_at, i_at, at_at = arguments
        vectors = _Vectors(context, builder, bits.dtype)
        chosen = vectors.load_chosen(keep, keep_at, i_at)
        packed = vectors.call(
            f"llvm.experimental.vector.compress.v{vectors.lanes}i{vectors.width}",
            vectors.numbers,
            vectors.load(bits, bits_at, i_at, vectors.numbers),
            chosen,
            ir.Constant(vectors.numbers, ir.Undefined),
        )
        vectors.store(packed, out, out_at, at_at)
        return vectors.count(chosen)

    return types.int64(bits, keep, out, i, at), generate


@compiled
def _keep(bits: Bits, keep: npt.NDArray[np.uint8], out: Bits) -> int:
    at = 0
    for i in range(0, bits.size, _VECTOR // bits.itemsize):
        at += _keep_vector(bits, keep, out, i, at)
    return at


@intrinsic  # type: ignore[untyped-decorator]
def _put_vector(_: Any, values: Any, where: Any, bits: Any, at: Any, i: Any) -> Any:
    """Put ``values[at]`` and what follows into the marked lanes of the vector at ``bits[i]``; returns how many."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        values_at, where_at, bits_at, at_at, i_at = arguments
        vectors = _Vectors(context, builder, bits.dtype)
        chosen = vectors.load_chosen(where, where_at, i_at)
        spread = vectors.call(
            f"llvm.masked.expandload.v{vectors.lanes}i{vectors.width}",
            vectors.numbers,
            vectors.pointer(values, values_at, at_at, ir.IntType(vectors.width)),
            chosen,
            vectors.load(bits, bits_at, i_at, vectors.numbers),
        )
        vectors.store(spread, bits, bits_at, i_at)
        return vectors.count(chosen)

    return types.int64(values, where, bits, at, i), generate


@compiled
def _put(values: Bits, where: npt.NDArray[np.uint8], bits: Bits) -> int:
    at = 0
    for i in range(0, bits.size, _VECTOR // bits.itemsize):
        at += _put_vector(values, where, bits, at, i)
    return at
