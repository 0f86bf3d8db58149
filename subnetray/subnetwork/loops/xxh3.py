"""XXH3-128 for compiled loops, which cannot call the library: what was compared is hashed while it is in the cache.

The digests are those of ``xxhash`` (its specification: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md),
for more than :data:`SHORT` bytes; a few bytes have an algorithm of their own there, and no need for speed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from subnetray.subnetwork.loops.compiled import compiled

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

SHORT = 240  # bytes up to which the library is needed
_STRIPE = 64  # bytes that go into the eight accumulators at once
_STRIPES = 16  # after which these are scrambled
BLOCK = _STRIPE * _STRIPES
_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
        "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
        "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)
_LAST, _SCRAMBLE, _LOW, _HIGH = 121, 128, 11, 117  # where in the secret each step begins
_PRIME = 0x9E3779B1
_FIRST = np.array(
    [
        0xC2B2AE3D,
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x85EBCA77,
        0x27D4EB2F165667C5,
        _PRIME,
    ],
    np.uint64,
)


@compiled
def begin(accumulators: Words) -> None:
    """Start a digest; ``accumulators`` (8,) hold it until :func:`finish`."""
    accumulators[:] = _FIRST


@compiled
def absorb(data: Bytes, first: int, last: int, accumulators: Words) -> int:
    """Take in whole blocks of :data:`BLOCK` bytes of ``data`` from ``first`` on, up to ``last``.

    Returns where the next one begins. The last block of all, whole or not, is for :func:`finish`.
    """
    while first + BLOCK <= last:
        _absorb_block(data, first, _SECRET, accumulators)
        first += BLOCK
    return first


@compiled
def finish(data: Bytes, first: int, last: int, size: int, accumulators: Words, digest: Words) -> None:
    """End the digest of ``size`` bytes: those of ``data`` from ``first`` to ``last`` are still to be taken in.

    The 64 bytes before ``last`` are needed, even if some of them are not among these. ``digest`` (2,) is its upper and
    lower half.
    """
    first = absorb(data, first, last - 1, accumulators)
    for stripe in range((last - 1 - first) // _STRIPE):
        _absorb_stripe(data, first + stripe * _STRIPE, _SECRET, 8 * stripe, accumulators)
    _absorb_stripe(data, last - _STRIPE, _SECRET, _LAST, accumulators)
    digest[0] = _merged(accumulators, _HIGH, ~(np.uint64(size) * np.uint64(0xC2B2AE3D27D4EB4F)))
    digest[1] = _merged(accumulators, _LOW, np.uint64(size) * np.uint64(0x9E3779B185EBCA87))


@compiled
def _merged(accumulators: Words, secret: int, start: np.uint64) -> np.uint64:
    for pair in range(4):
        one = accumulators[2 * pair] ^ _word(_SECRET, secret + 16 * pair)
        start += _folded(one, accumulators[2 * pair + 1] ^ _word(_SECRET, secret + 16 * pair + 8))
    start = (start ^ (start >> np.uint64(37))) * np.uint64(0x165667919E3779F9)
    return start ^ (start >> np.uint64(32))


class _Stripes:
    """What the intrinsics below are made of: vectors of eight words, and the addresses of them."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder
        self.word = ir.IntType(64)
        self.words = ir.VectorType(self.word, 8)

    def pointer(self, kind: Any, array: Any, index: Any, target: Any) -> Any:
        data = cgutils.create_struct_proxy(kind)(self.context, self.builder, array).data
        return self.builder.bitcast(self.builder.gep(data, [index]), target.as_pointer())

    def load(self, kind: Any, array: Any, index: Any) -> Any:
        return self.builder.load(self.pointer(kind, array, index, self.words), align=1)

    def all(self, value: int) -> Any:
        return ir.Constant(self.words, [value] * 8)

    def accumulated(self, sums: Any, data: Any, secret: Any) -> Any:
        """The accumulators after a stripe: the product of the halves of its keyed words, and its words, swapped."""
        builder = self.builder
        keyed = builder.xor(data, secret)
        product = builder.mul(builder.and_(keyed, self.all(0xFFFFFFFF)), builder.lshr(keyed, self.all(32)))
        order = ir.Constant(ir.VectorType(ir.IntType(32), 8), [1, 0, 3, 2, 5, 4, 7, 6])
        return builder.add(sums, builder.add(product, builder.shuffle_vector(data, data, order)))

    def scrambled(self, sums: Any, secret: Any) -> Any:
        mixed = self.builder.xor(self.builder.xor(sums, self.builder.lshr(sums, self.all(47))), secret)
        return self.builder.mul(mixed, self.all(_PRIME))


@intrinsic  # type: ignore[untyped-decorator]
def _absorb_block(_: Any, data: Any, first: Any, secret: Any, accumulators: Any) -> Any:
    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        data_at, first_at, secret_at, sums_at = arguments
        stripes = _Stripes(context, builder)
        place = stripes.pointer(accumulators, sums_at, stripes.word(0), stripes.words)
        sums = builder.load(place, align=8)
        for stripe in range(_STRIPES):
            words = stripes.load(data, data_at, builder.add(first_at, stripes.word(_STRIPE * stripe)))
            sums = stripes.accumulated(sums, words, stripes.load(secret, secret_at, stripes.word(8 * stripe)))
        sums = stripes.scrambled(sums, stripes.load(secret, secret_at, stripes.word(_SCRAMBLE)))
        builder.store(sums, place, align=8)
        return context.get_dummy_value()

    return types.void(data, first, secret, accumulators), generate


@intrinsic  # type: ignore[untyped-decorator]
def _absorb_stripe(_: Any, data: Any, first: Any, secret: Any, key: Any, accumulators: Any) -> Any:
    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        data_at, first_at, secret_at, key_at, sums_at = arguments
        stripes = _Stripes(context, builder)
        place = stripes.pointer(accumulators, sums_at, stripes.word(0), stripes.words)
        words, keys = stripes.load(data, data_at, first_at), stripes.load(secret, secret_at, key_at)
        builder.store(stripes.accumulated(builder.load(place, align=8), words, keys), place, align=8)
        return context.get_dummy_value()

    return types.void(data, first, secret, key, accumulators), generate


@intrinsic  # type: ignore[untyped-decorator]
def _word(_: Any, data: Any, first: Any) -> Any:
    """The eight bytes there as a number."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        stripes = _Stripes(context, builder)
        return builder.load(stripes.pointer(data, arguments[0], arguments[1], stripes.word), align=1)

    return types.uint64(data, first), generate


@intrinsic  # type: ignore[untyped-decorator]
def _folded(_: Any, one: Any, two: Any) -> Any:
    """Both halves of a product of 128 bits, one upon the other."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        wide, narrow = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        upper = builder.trunc(builder.lshr(product, wide(64)), narrow)
        return builder.xor(builder.trunc(product, narrow), upper)

    return types.uint64(types.uint64, types.uint64), generate
