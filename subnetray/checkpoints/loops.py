"""Compiled loops over two files: what is read is compared and hashed while it is in the cache of the core that read it.

Neither Python nor memory beyond the cache is waited for, so that threads share the cores and hardly meet. Files are
read, not mapped: mapped ones are compared in a tenth less time where the page cache has large pages, and in half as
much again or more where it has small ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import types

from subnetray.subnetwork.bits import integer_type
from subnetray.subnetwork.files.encoding import encode
from subnetray.subnetwork.loops import xxh3
from subnetray.subnetwork.loops.compiled import compiled
from subnetray.subnetwork.loops.kernels import (
    Bits,
    Bytes,
    Levels,
    Room,
    count_levels,
    infinity,
    scan_vectors,
    tally_vectors,
)
from subnetray.subnetwork.loops.vectors import VECTOR

Words = npt.NDArray[np.uint64]

# Bytes of each file that are read at once: both stay in the cache of a core, together with what is found in a block. A
# multiple of ``xxh3.BLOCK``.
_PIECE = 256 << 10
# By its name, not by a pointer, so that compiled code can be kept on disk.
_pread = types.ExternalFunction("pread", types.int64(types.int32, types.uintp, types.uintp, types.int64))


class Place(NamedTuple):
    """Where numbers begin: an open file and a byte of it."""

    file: int
    offset: int


IN_MEMORY = Place(-1, 0)  # they have been read already, to the memory for a block


class Found(NamedTuple):
    """Of the first ``done`` coordinates: how many differ, are visible, are NaN or infinite; bytes of their steps."""

    done: int
    moved: int
    visible: int
    nonfinite: int
    stored: int


class Into(NamedTuple):
    """Memory that takes what is found, in blocks of ``size`` coordinates.

    What differs goes to ``room``, as ``differences`` has it. If there are ``levels``, pairs that differ are added to
    these, and the numbers in ``room`` are those of one block. Unless ``steps`` is empty, it takes the steps of every
    block, each as ``steps.encode`` has it. ``digests`` of (blocks, 2) take the two halves of every block's XXH3-128,
    unless there are none or the block has no more than ``xxh3.SHORT`` bytes.
    """

    size: int
    room: Room
    steps: Bytes
    digests: tuple[Words, Words]
    levels: Levels | None = None


def tally_places(places: tuple[Place, Place], n: int, dtype: torch.dtype, blocks: tuple[Bytes, Bytes]) -> Found:
    """Count ``n`` coordinates of two files bit for bit; ``blocks`` is memory that they are read to.

    ``done`` is less than ``n`` where a file ends or a read fails, which whoever reads the rest finds out. Neither
    what differs nor its steps are found.
    """
    one, two = (block.view(integer_type(dtype)) for block in blocks)
    visible, nonfinite, done = _tally_places(*places[0], *places[1], n, infinity(dtype), one, two)
    return Found(int(done), 0, int(visible), int(nonfinite), 0)


def scan_places(
    places: tuple[Place, Place], n: int, dtype: torch.dtype, blocks: tuple[Bytes, Bytes], into: Into
) -> Found:
    """Find all differences of ``n`` coordinates of two files: they go ``into`` memory.

    They are read to ``blocks``, memory for ``into.size`` coordinates and a vector. ``done`` is less than ``n`` where a
    file ends or a read fails; it is a multiple of ``into.size`` then.
    """
    numbers = [block.view(integer_type(dtype)) for block in blocks]
    arguments: list[Any] = [*places[0], *places[1], n, into.size, infinity(dtype), *numbers, *blocks]
    arguments += [*into.room, into.steps, *into.digests, *(into.levels or Levels.none())]
    return Found(*map(int, _scan_places(*arguments)))


@compiled
def _tally_places(
    old_file: int, old_at: int, new_file: int, new_at: int, n: int, exponent: Any, old: Bits, new: Bits
) -> tuple[int, int, int]:
    visible, nonfinite, done = 0, 0, 0
    size = min(_PIECE // old.itemsize, old.size - VECTOR // old.itemsize)
    while done < n:
        part = min(n - done, size)
        first, nbytes = done * old.itemsize, part * old.itemsize
        if not (_filled(old_file, old_at + first, nbytes, old) and _filled(new_file, new_at + first, nbytes, new)):
            break
        whole = _whole(part, old, new)
        seen, odd = tally_vectors(old[:whole], new[:whole], exponent)
        visible, nonfinite, done = visible + seen, nonfinite + odd, done + part
    return visible, nonfinite, done


@compiled
def _scan_places(
    old_file: int,
    old_at: int,
    new_file: int,
    new_at: int,
    n: int,
    size: int,
    exponent: Any,
    old: Bits,
    new: Bits,
    old_bytes: Bytes,
    new_bytes: Bytes,
    differing: Bits,
    visible: Bits,
    olds: Bits,
    news: Bits,
    steps: Bytes,
    old_digests: Words,
    new_digests: Words,
    tolerances: npt.NDArray[np.float32],
    ulps: npt.NDArray[np.uint16],
    beyond: npt.NDArray[np.int64],
    far: npt.NDArray[np.int64],
) -> tuple[int, int, int, int, int]:
    itemsize, lanes = old.itemsize, VECTOR // old.itemsize
    old_sums, new_sums = np.empty(8, np.uint64), np.empty(8, np.uint64)
    counted = tolerances.size + ulps.size > 0
    moved, seen, odd, stored = 0, 0, 0, 0
    for begin in range(0, n, size):
        block, number = min(size, n - begin), begin // size
        hashes = old_digests.shape[0] > 0 and block * itemsize > xxh3.SHORT
        if hashes:
            xxh3.begin(old_sums)
            xxh3.begin(new_sums)
        kept = 0 if counted else moved
        last, shown, strange = kept, 0, 0
        at, end = 0, 0
        while at < block:
            part = min(_PIECE // itemsize, block - at)
            # Pieces of files come to the same memory one after another, behind the end of the one before.
            here = at if old_file < 0 else min(at, lanes)
            if old_file >= 0:
                first, nbytes = (begin + at) * itemsize, part * itemsize
                old[:here], new[:here] = old[end - here : end], new[end - here : end]
                if not (
                    _filled(old_file, old_at + first, nbytes, old[here:])
                    and _filled(new_file, new_at + first, nbytes, new[here:])
                ):
                    return begin, moved, seen, odd, stored
            end, word = here + part, (begin + at) // lanes
            whole = here + _whole(part, old[here:], new[here:])
            more, visibles, odds = scan_vectors(
                old[here:whole], new[here:whole], exponent, differing[word:], visible[word:], olds[last:], news[last:]
            )
            at, last, shown, strange = at + part, last + more, shown + visibles, strange + odds
            if hashes and at < block:
                xxh3.absorb(old_bytes, here * itemsize, end * itemsize, old_sums)
                xxh3.absorb(new_bytes, here * itemsize, end * itemsize, new_sums)
            elif hashes:
                xxh3.finish(old_bytes, here * itemsize, end * itemsize, block * itemsize, old_sums, old_digests[number])
                xxh3.finish(new_bytes, here * itemsize, end * itemsize, block * itemsize, new_sums, new_digests[number])
        if steps.size > 0:
            stored += encode(olds[kept:last], news[kept:last], steps[stored:])
        if counted:
            whole = _whole(last, olds, news)
            count_levels(olds[:whole], news[:whole], tolerances, ulps, beyond, far)
        moved, seen, odd = moved + last - kept, seen + shown, odd + strange
    return n, moved, seen, odd, stored


@compiled
def _filled(file: int, offset: int, nbytes: int, space: Bits) -> bool:
    """Read so many bytes, if need be in several pieces; False if there is an error or the file ends."""
    done = 0
    while done < nbytes:
        count = _pread(np.int32(file), np.uintp(space.ctypes.data + done), np.uintp(nbytes - done), offset + done)
        if count <= 0:
            return False
        done += count
    return True


@compiled
def _whole(n: int, old: Bits, new: Bits) -> int:
    """``n`` rounded up to whole vectors; what fills them in both arrays is the same, and no number."""
    lanes = VECTOR // old.itemsize
    whole = (n + lanes - 1) // lanes * lanes
    old[n:whole] = 0
    new[n:whole] = 0
    return whole
