"""The loops that every comparison spends its time in, over the integers that hold weights (see ``bits``).

numpy's own need several passes or several times as long: measured on 2^17 bf16 coordinates in the cache, one core,
:func:`tally` takes 0.07 ns a coordinate where numpy takes 0.3, :func:`kept` 0.05 where ``np.compress`` takes 0.6.
"""

from __future__ import annotations

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


@intrinsic  # type: ignore[untyped-decorator]
def _keep_vector(_: Any, bits: Any, keep: Any, out: Any, i: Any, at: Any) -> Any:
    """Write the kept ones of the vector at ``bits[i]`` to ``out[at]`` and what follows; returns how many there are.

    LLVM makes one instruction of it where there is AVX-512, and a short loop elsewhere.
    """

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        def vector(kind: Any, array: Any, index: Any, lane: Any) -> Any:
            data = cgutils.create_struct_proxy(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), lane.as_pointer())

        width = context.get_data_type(bits.dtype).width
        lanes = 8 * _VECTOR // width
        values, flags = ir.VectorType(ir.IntType(width), lanes), ir.VectorType(ir.IntType(8), lanes)
        ones, word = ir.VectorType(ir.IntType(1), lanes), ir.IntType(lanes)
        loaded = builder.load(vector(bits, arguments[0], arguments[3], values), align=1)
        flagged = builder.load(vector(keep, arguments[1], arguments[3], flags), align=1)
        chosen = builder.icmp_unsigned("!=", flagged, ir.Constant(flags, [0] * lanes))
        compress = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(values, [values, ones, values]),
            f"llvm.experimental.vector.compress.v{lanes}i{width}",
        )
        packed = builder.call(compress, [loaded, chosen, ir.Constant(values, ir.Undefined)])
        builder.store(packed, vector(out, arguments[2], arguments[4], values), align=1)
        population = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(word, [word]), f"llvm.ctpop.i{lanes}"
        )
        return builder.zext(builder.call(population, [builder.bitcast(chosen, word)]), ir.IntType(64))

    return types.int64(bits, keep, out, i, at), generate


@compiled
def _keep(bits: Bits, keep: npt.NDArray[np.uint8], out: Bits) -> int:
    at = 0
    for i in range(0, bits.size, _VECTOR // bits.itemsize):
        at += _keep_vector(bits, keep, out, i, at)
    return at
