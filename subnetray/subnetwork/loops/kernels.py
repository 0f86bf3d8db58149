"""The loops that every comparison spends its time in, over the integers that hold weights (see ``bits``).

numpy's own need several passes or several times as long. Measured on 2^18 bf16 coordinates in the cache, one core with
AVX-512: :func:`tally` takes 0.05 ns a coordinate (numpy: 0.3), :func:`differences` 0.08 where a fifth differ (with
numpy's comparisons and packing: 0.28), :class:`Levels` 0.15 ns a pair for seven levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from subnetray.subnetwork.bits import float_format, integer_type
from subnetray.subnetwork.loops.compiled import compiled
from subnetray.subnetwork.loops.vectors import VECTOR, Vectors

Bits = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def tally(old: Bits, new: Bits, dtype: torch.dtype) -> tuple[int, int]:
    """How many coordinates are visible (their bits differ, ±0 being equal), and at how many either is NaN or infinite.

    ``old`` and ``new`` are contiguous and hold numbers of ``dtype``.
    """
    exponent, found = infinity(dtype), np.zeros(2, np.int64)
    for one, two in _whole_vectors(old, new):
        found += tally_vectors(one, two, exponent)
    return int(found[0]), int(found[1])


class Room(NamedTuple):
    """Memory for what :func:`differences` finds: words of bits, and numbers. All are written by whole vectors."""

    differing: Bits
    visible: Bits
    old: Bits
    new: Bits

    @classmethod
    def of(cls, n: int, dtype: torch.dtype, bits: Bytes | None = None, numbers: Bytes | None = None) -> Room:
        """Room for ``n`` coordinates of ``dtype``.

        If given, bits are in :func:`bits_bytes` of memory, and numbers in the :func:`numbers_bytes` of as many as it
        has to hold at a time.
        """
        bits = np.empty(bits_bytes(n), np.uint8) if bits is None else bits
        numbers = np.empty(numbers_bytes(n, dtype), np.uint8) if numbers is None else numbers
        half, lanes = bits_bytes(n) // 2, VECTOR // dtype.itemsize
        words = -(-n // lanes) * lanes // 8
        differing, visible = (bits[first : first + words].view(f"u{lanes // 8}") for first in (0, half))
        half = numbers.nbytes // 2
        old, new = (numbers[first : first + half].view(integer_type(dtype)) for first in (0, half))
        return cls(differing, visible, old, new)


def bits_bytes(n: int) -> int:
    """Bytes of memory for the bits in the :class:`Room` of ``n`` coordinates."""
    return 2 * -(-n // (8 * VECTOR)) * VECTOR


def numbers_bytes(n: int, dtype: torch.dtype) -> int:
    """Bytes of memory for the numbers in the :class:`Room` of ``n`` coordinates."""
    return 2 * (-(-n * dtype.itemsize // VECTOR) + 1) * VECTOR


def differences(old: Bits, new: Bits, dtype: torch.dtype, room: Room) -> tuple[Bytes, Bytes, Bits, Bits, int, int]:
    """All that two arrays (as for :func:`tally`) differ in, in one pass over them.

    Returns, in the beginnings of what ``room`` holds, a bit a coordinate, packed as in a ``Mask``, where the stored
    bits differ; the same where that is visible; what ``old`` and what ``new`` hold where they differ, in order; and
    both counts of :func:`tally`.
    """
    exponent, first, moved = infinity(dtype), 0, 0
    counts = np.zeros(2, np.int64)
    for one, two in _whole_vectors(old, new):
        words = slice(first, first + one.nbytes // VECTOR)
        more, *found = scan_vectors(
            one, two, exponent, room.differing[words], room.visible[words], room.old[moved:], room.new[moved:]
        )
        counts += found
        moved, first = moved + more, words.stop
    packed = [bits.view(np.uint8)[: -(-old.size // 8)] for bits in (room.differing, room.visible)]
    return packed[0], packed[1], room.old[:moved], room.new[:moved], int(counts[0]), int(counts[1])


class Levels(NamedTuple):
    """By what pairs of bf16 numbers that differ are counted, and how many of them are beyond each level so far.

    ``beyond``: |Δ| > τ, in fp32, for each of ``tolerances`` (>= 0); ``far``: at least k representable values apart, for
    each of ``ulps`` (>= 1). A pair with a NaN is beyond every level.
    """

    tolerances: npt.NDArray[np.float32]
    ulps: npt.NDArray[np.uint16]
    beyond: npt.NDArray[np.int64]
    far: npt.NDArray[np.int64]

    @classmethod
    def none(cls, tolerances: Sequence[float] = (), ulps: Sequence[int] = ()) -> Levels:
        """Nothing counted yet."""
        # No two bf16 numbers are so many steps apart as there are 16-bit integers.
        steps = np.minimum(ulps, 0xFFFF).astype(np.uint16)
        beyond, far = (np.zeros(len(each), np.int64) for each in (tolerances, ulps))
        return cls(np.array(tolerances, np.float32), steps, beyond, far)

    def add(self, old: Bits, new: Bits) -> None:
        """Add the pairs of two arrays (as for :func:`tally`); all of them differ."""
        for one, two in _whole_vectors(old, new):
            count_levels(one, two, *self)


def infinity(dtype: torch.dtype) -> Any:
    """The bits of infinity: numbers of no less magnitude are infinite or NaN."""
    integer = integer_type(dtype)
    return integer.type(np.iinfo(integer).max & -(1 << float_format(dtype).mantissa_bits))


def _whole_vectors(old: Bits, new: Bits) -> Iterator[tuple[Bits, Bits]]:
    """Both in one piece as far as they fill vectors, then the rest with zeros behind it."""
    lanes = VECTOR // old.itemsize
    whole = old.size // lanes * lanes
    yield old[:whole], new[:whole]
    if whole < old.size:
        rest = np.zeros((2, lanes), old.dtype)
        rest[:, : old.size - whole] = old[whole:], new[whole:]
        yield rest[0], rest[1]


@intrinsic  # type: ignore[untyped-decorator]
def _tally_vector(_: Any, old: Any, new: Any, i: Any, exponent: Any) -> Any:
    """Of the vectors at ``old[i]`` and ``new[i]``: how many lanes are visible, and in how many either is no number."""
    pair = types.UniTuple(types.int64, 2)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        old_at, new_at, i_at, infinity = arguments
        vectors = Vectors(context, builder, old.dtype)
        one, two = vectors.load(old, old_at, i_at, vectors.numbers), vectors.load(new, new_at, i_at, vectors.numbers)
        _, visible, odd = vectors.compare(one, two, infinity)
        return context.make_tuple(builder, pair, [vectors.count(visible), vectors.count(odd)])

    return pair(old, new, i, exponent), generate


@compiled
def tally_vectors(old: Bits, new: Bits, exponent: Any) -> tuple[int, int]:
    """:func:`tally` of whole vectors; ``exponent`` is the :func:`infinity` of their dtype."""
    visible, nonfinite = 0, 0
    for i in range(0, old.size, VECTOR // old.itemsize):
        seen, odd = _tally_vector(old, new, i, exponent)
        visible += seen
        nonfinite += odd
    return visible, nonfinite


@intrinsic  # type: ignore[untyped-decorator]
def _differences_vector(
    _: Any,
    old: Any,
    new: Any,
    i: Any,
    exponent: Any,
    differing: Any,
    visible: Any,
    word: Any,
    olds: Any,
    news: Any,
    at: Any,
) -> Any:
    """Compare the vectors at ``old[i]`` and ``new[i]``; returns how many lanes differ, are visible, are no numbers.

    Writes a bit a lane to ``differing[word]`` and ``visible[word]``, and what differs from ``olds[at]`` and
    ``news[at]`` on, of which whole vectors are written.
    """
    counts = types.UniTuple(types.int64, 3)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        old_at, new_at, i_at, infinity, differing_at, visible_at, word_at, olds_at, news_at, at_at = arguments
        vectors = Vectors(context, builder, old.dtype)
        one, two = vectors.load(old, old_at, i_at, vectors.numbers), vectors.load(new, new_at, i_at, vectors.numbers)
        moved, seen, odd = vectors.compare(one, two, infinity)
        vectors.store(vectors.word(moved), differing, differing_at, word_at)
        vectors.store(vectors.word(seen), visible, visible_at, word_at)
        vectors.store(vectors.compress(one, moved), olds, olds_at, at_at)
        vectors.store(vectors.compress(two, moved), news, news_at, at_at)
        return context.make_tuple(builder, counts, [vectors.count(lanes) for lanes in (moved, seen, odd)])

    return counts(old, new, i, exponent, differing, visible, word, olds, news, at), generate


@compiled
def scan_vectors(
    old: Bits, new: Bits, exponent: Any, differing: Bits, visible: Bits, olds: Bits, news: Bits
) -> tuple[int, int, int]:
    """:func:`differences` of whole vectors; returns how many differ, are visible, are no numbers in either."""
    at, seen, odd = 0, 0, 0
    for word in range(old.size // (VECTOR // old.itemsize)):
        i = word * (VECTOR // old.itemsize)
        more, shown, strange = _differences_vector(old, new, i, exponent, differing, visible, word, olds, news, at)
        at, seen, odd = at + more, seen + shown, odd + strange
    return at, seen, odd


@intrinsic  # type: ignore[untyped-decorator]
def _levels_vector(_: Any, old: Any, new: Any, i: Any, tolerances: Any, ulps: Any, beyond: Any, far: Any) -> Any:
    """Add to ``beyond`` and ``far`` how many of the pairs at ``old[i]`` and ``new[i]`` are beyond each level."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        old_at, new_at, i_at, tolerances_at, ulps_at, beyond_at, far_at = arguments
        if old.dtype.bitwidth != 16:  # loops are compiled for other dtypes too, which have no levels
            return context.get_dummy_value()
        vectors = Vectors(context, builder, old.dtype)
        one, two = vectors.load(old, old_at, i_at, vectors.numbers), vectors.load(new, new_at, i_at, vectors.numbers)
        # bf16 is the upper half of fp32.
        integers, floats = (ir.VectorType(kind, vectors.lanes) for kind in (ir.IntType(32), ir.FloatType()))
        halves = ir.Constant(integers, [16] * vectors.lanes)
        a, b = (builder.bitcast(builder.shl(builder.zext(each, integers), halves), floats) for each in (one, two))
        distance = vectors.call(f"llvm.fabs.v{vectors.lanes}f32", floats, builder.fsub(b, a))
        # Magnitudes count the steps from 0: between numbers of one sign there is their difference, else their sum.
        magnitude = vectors.filled(ir.IntType(16)(0x7FFF))
        p, q = builder.and_(one, magnitude), builder.and_(two, magnitude)
        opposite = builder.icmp_signed("<", builder.xor(one, two), ir.Constant(vectors.numbers, None))
        ordered = builder.icmp_unsigned(">", p, q)
        apart = builder.select(ordered, builder.sub(p, q), builder.sub(q, p))
        steps = builder.select(opposite, builder.add(p, q), apart)
        # Unequal numbers have a distance, unless one is NaN.
        undefined = builder.fcmp_unordered("uno", distance, distance)
        steps = builder.select(undefined, vectors.filled(ir.IntType(16)(0xFFFF)), steps)

        def add(levels: Any, levels_at: Any, counts: Any, counts_at: Any, more: Any) -> None:
            size = cgutils.create_struct_proxy(levels)(context, builder, levels_at).nitems
            with cgutils.for_range(builder, size) as loop:
                level = builder.load(vectors.address(levels, levels_at, loop.index))
                total = vectors.address(counts, counts_at, loop.index)
                builder.store(builder.add(builder.load(total), vectors.count(more(level))), total)

        add(
            tolerances,
            tolerances_at,
            beyond,
            beyond_at,
            lambda level: builder.fcmp_unordered(">", distance, vectors.filled(level)),
        )
        add(ulps, ulps_at, far, far_at, lambda level: builder.icmp_unsigned(">=", steps, vectors.filled(level)))
        return context.get_dummy_value()

    return types.void(old, new, i, tolerances, ulps, beyond, far), generate


@compiled
def count_levels(
    old: Bits,
    new: Bits,
    tolerances: npt.NDArray[np.float32],
    ulps: npt.NDArray[np.uint16],
    beyond: npt.NDArray[np.int64],
    far: npt.NDArray[np.int64],
) -> None:
    """:meth:`Levels.add` of whole vectors."""
    for i in range(0, old.size, VECTOR // old.itemsize):
        _levels_vector(old, new, i, tolerances, ulps, beyond, far)
