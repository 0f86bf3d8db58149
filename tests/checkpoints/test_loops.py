"""Compiled loops over files against numpy, with weights at any byte of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subnetray.checkpoints import loops
from subnetray.checkpoints.loops import Found, Into, Place, scan_places, tally_places
from subnetray.subnetwork.bits import from_integers, integer_type
from subnetray.subnetwork.files.encoding import encode
from subnetray.subnetwork.files.memory import pages
from subnetray.subnetwork.loops import xxh3
from subnetray.subnetwork.loops.kernels import Bits, Levels, Room
from subnetray.subnetwork.loops.vectors import VECTOR
from subnetray.subnetwork.mask import pack
from tests.subnetwork.strategies import DTYPES


def _pair(dtype: torch.dtype, n: int, seed: int) -> tuple[Bits, Bits]:
    """Any bits, half of them the same in both, with zeros of both signs."""
    generator, integer = np.random.default_rng(seed), integer_type(dtype)
    least, largest = np.iinfo(integer).min, np.iinfo(integer).max
    old = generator.integers(least, largest, n, integer, endpoint=True)
    new = np.where(generator.random(n) < 0.5, generator.integers(least, largest, n, integer, endpoint=True), old)
    for bits in (old, new):
        bits[generator.random(n) < 0.2] = 0
        bits[generator.random(n) < 0.2] = least
    return old, new


def _visible(old: Bits, new: Bits) -> Bits:
    least = np.iinfo(old.dtype).min
    zeros = ((old == 0) | (old == least)) & ((new == 0) | (new == least))
    return (old != new) & ~zeros


def _nonfinite(old: Bits, new: Bits, dtype: torch.dtype) -> int:
    finite = [from_integers(bits, dtype).isfinite().numpy() for bits in (old, new)]
    return int(np.count_nonzero(~(finite[0] & finite[1])))


def _stored(path: Path, offset: int, bits: Bits) -> Place:
    path.write_bytes(bytes(offset) + bits.tobytes())
    return Place(os.open(path, os.O_RDONLY), offset)


CASES = given(
    dtype=st.sampled_from(DTYPES),
    n=st.integers(0, 2000),
    seed=st.integers(0, 1 << 32),
    offsets=st.tuples(st.integers(0, 70), st.integers(0, 70)),
    piece=st.sampled_from([64, 192, 1 << 18]),
)
ONCE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@CASES
@ONCE
def test_counts_are_those_of_weights_in_memory(
    tmp_path: Path, dtype: torch.dtype, n: int, seed: int, offsets: tuple[int, int], piece: int
) -> None:
    old, new = _pair(dtype, n, seed)
    one, two = _stored(tmp_path / "old", offsets[0], old), _stored(tmp_path / "new", offsets[1], new)
    blocks = pages(piece + VECTOR), pages(piece + VECTOR)
    blocks[0][:], blocks[1][:] = 1, 2  # what was there before is of no account
    try:
        found = tally_places((one, two), n, dtype, blocks)
    finally:
        os.close(one.file)
        os.close(two.file)
    assert found == Found(n, 0, int(_visible(old, new).sum()), _nonfinite(old, new, dtype), 0)


@CASES
@ONCE
def test_differences_and_hashes_are_those_of_weights_in_memory(
    tmp_path: Path, dtype: torch.dtype, n: int, seed: int, offsets: tuple[int, int], piece: int
) -> None:
    old, new = _pair(dtype, n, seed)
    one, two = _stored(tmp_path / "old", offsets[0], old), _stored(tmp_path / "new", offsets[1], new)
    size = 8 * piece // 64 * 8  # coordinates a block
    blocks = pages(size * dtype.itemsize + VECTOR), pages(size * dtype.itemsize + VECTOR)
    digests = np.zeros((2, -(-n // size), 2), np.uint64)
    room, steps = Room.of(n, dtype), np.empty(-(-n // size) + n * dtype.itemsize, np.uint8)
    try:
        found = scan_places((one, two), n, dtype, blocks, Into(size, room, steps, (digests[0], digests[1])))
    finally:
        os.close(one.file)
        os.close(two.file)
    differing, visible = old != new, _visible(old, new)
    moved = int(differing.sum())
    # Blocks of steps, one after another.
    expected, one_block = bytearray(), np.empty(1 + size * dtype.itemsize, np.uint8)
    for first in range(0, n, size):
        keep = differing[first : first + size]
        count = encode(old[first : first + size][keep], new[first : first + size][keep], one_block)
        expected += one_block[:count].tobytes()
    assert found == Found(n, moved, int(visible.sum()), _nonfinite(old, new, dtype), len(expected))
    assert steps[: found.stored].tobytes() == expected
    for packed, marks in ((room.differing, differing), (room.visible, visible)):
        assert np.array_equal(packed.view(np.uint8)[: -(-n // 8)], pack(marks))
    assert np.array_equal(room.old[:moved], old[differing])
    assert np.array_equal(room.new[:moved], new[differing])
    for bits, halves in zip((old, new), digests, strict=True):
        for number in range(-(-n // size)):
            block = bits[number * size : (number + 1) * size]
            if block.nbytes > xxh3.SHORT:
                assert halves[number].astype(">u8").tobytes() == xxhash.xxh3_128_digest(block.tobytes())


@pytest.mark.parametrize("missing", [1, 100, 5000])
@pytest.mark.parametrize("side", ["old", "new"])
def test_a_file_that_ends_too_soon_gives_whole_blocks_only(tmp_path: Path, missing: int, side: str) -> None:
    old, new = _pair(torch.bfloat16, 5000, 0)
    one, two = _stored(tmp_path / "old", 9, old), _stored(tmp_path / "new", 8, new)
    os.truncate(tmp_path / side, (tmp_path / side).stat().st_size - missing)
    size, room = 1024, Room.of(5000, torch.bfloat16)
    blocks = pages(2 * size + VECTOR), pages(2 * size + VECTOR)
    digests, steps = np.zeros((2, 5, 2), np.uint64), np.empty(5 + 2 * 5000, np.uint8)
    try:
        into = Into(size, room, steps, (digests[0], digests[1]))
        found = scan_places((one, two), 5000, torch.bfloat16, blocks, into)
        counted = tally_places((one, two), 5000, torch.bfloat16, blocks)
        closed = tally_places((one, Place(1 << 20, 0)), 5000, torch.bfloat16, blocks)  # no open file
    finally:
        os.close(one.file)
        os.close(two.file)
    done = (10_000 - missing) // 2 // size * size
    assert found.done == counted.done == done
    assert found.moved == int((old != new)[:done].sum())
    assert found.visible == counted.visible == int(_visible(old, new)[:done].sum())
    assert closed == Found(0, 0, 0, 0, 0)


def test_pieces_of_a_block_are_joined(tmp_path: Path) -> None:
    """More than one read a block, the last one of a single number."""
    n = 3 * loops._PIECE // 2 + 1
    old, new = _pair(torch.bfloat16, n, 0)
    one, two = _stored(tmp_path / "old", 8, old), _stored(tmp_path / "new", 24, new)
    blocks, room = (pages(2 * n + VECTOR), pages(2 * n + VECTOR)), Room.of(n, torch.bfloat16)
    digests, none = np.zeros((2, 1, 2), np.uint64), np.empty(0, np.uint8)
    levels, expected = (Levels.none([1e-3], [2]) for _ in range(2))
    try:
        into = Into(n, room, none, (digests[0], digests[1]), levels)
        found = scan_places((one, two), n, torch.bfloat16, blocks, into)
    finally:
        os.close(one.file)
        os.close(two.file)
    assert (found.done, found.stored) == (n, 0)
    assert np.array_equal(room.new[: found.moved], new[old != new])
    expected.add(old[old != new], new[old != new])
    assert [each.tolist() for each in levels] == [each.tolist() for each in expected]
    assert digests[1, 0].astype(">u8").tobytes() == xxhash.xxh3_128_digest(new.tobytes())
