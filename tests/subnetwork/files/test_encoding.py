"""Steps of a delta as a stream of bytes: whatever they are, they come back, and take no more room than the weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork.files import encoding as steps_module
from subnetray.subnetwork.files.encoding import Bits, encode, pack_steps, stream_bytes, unpack_steps
from subnetray.subnetwork.mask import pack


@given(
    integer=st.sampled_from([np.int16, np.int32, np.int64]),
    n=st.sampled_from([0, 1, 63, 64, 200, 1500]),
    seed=st.integers(0, 1 << 32),
    marked=st.sampled_from([0.0, 0.2, 1.0]),
    far=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    near=st.sampled_from([[-8, -1, 1, 7], [-9, *range(-8, 0), 1], [-128, -127, -1, 1, 126, 127]]),
)
def test_steps_come_back_and_take_half_a_byte_each_or_a_byte_where_they_fit(
    integer: type[np.signedinteger], n: int, seed: int, marked: float, far: float, near: list[int]
) -> None:
    generator, block = np.random.default_rng(seed), 64
    limits = np.iinfo(integer)
    marks = generator.random(n) < marked
    count = int(marks.sum())
    anywhere = generator.integers(limits.min, limits.max, count, integer, endpoint=True)
    steps = np.where(generator.random(count) < far, anywhere, generator.choice(near, count)).astype(integer)
    steps[steps == 0] = limits.max  # what does not change has no step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps_module, "BLOCK", block)
        stream = pack_steps(steps, pack(marks))
        assert np.array_equal(unpack_steps(stream, pack(marks), steps.dtype), steps)
        assert stream.size <= stream_bytes(n, steps.itemsize)
    expected, first = 0, 0
    for start in range(0, n, block):
        of_block = steps[first : first + int(marks[start : start + block].sum())]
        long = of_block[(of_block < -8) | (of_block > 7)]
        if not long.size:
            expected += 1 + -(-of_block.size // 2)
        elif long.size + 2 <= of_block.size // 2:
            expected += 1 + -(-of_block.size // 2) + _bytes(long)
        else:
            expected += _bytes(of_block)
        first += of_block.size
    assert stream.size == expected


def _bytes(steps: Bits) -> int:
    """How many a block takes whose steps are bytes, or have their full width."""
    return 1 + min(steps.size + int(((steps < -128) | (steps > 127)).sum()) * steps.itemsize, steps.nbytes)


def test_the_layout_is_the_documented_one() -> None:
    old = np.array([0, 5, 32767, 7, 7, 7, 7, 7, 7, 7, 7], np.int16)
    new = np.array([1, 3, -32768, 7 + 0x1234, 7 - 8, 14, 15, 8, 8, 8, 8], np.int16)
    stream = np.empty(25, np.uint8)
    count = encode(old[:3], new[:3], stream)
    # Past the largest integer comes the smallest: one step.
    assert stream[:count].tolist() == [0, 0xE1, 0x01]
    count = encode(old, new, stream)
    # Two are too long for half a byte, and one of these for a byte.
    assert stream[:count].tolist() == [0, 0xE1, 0x01, 0x78, 0x10, 0x11, 0x01, 1, 0, 8, 0x34, 0x12]
    count = encode(old[:4], new[:4] + np.int16(8), stream)
    assert stream[:count].tolist() == [1, 9, 6, 9, 0, 0x3C, 0x12]
    count = encode(old[3:4], new[3:4], stream)
    assert stream[:count].tolist() == [2, 0x34, 0x12]


def test_long_steps_follow_those_of_the_whole_block() -> None:
    """More than are looked at at once."""
    n = 3 * steps_module._PIECE + 5
    steps = np.full(n, 100, np.int16)
    steps[[0, n // 2, n - 1]] = [300, -300, 1000]
    stream = pack_steps(steps, pack(np.ones(n, np.bool_)))
    assert stream[1 + n :].view(np.int16).tolist() == [300, -300, 1000]
    assert np.array_equal(unpack_steps(stream, pack(np.ones(n, np.bool_)), steps.dtype), steps)
