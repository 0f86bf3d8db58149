"""The hash of compiled loops is that of the library."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork.loops import xxh3


def _digest(data: xxh3.Bytes, cuts: list[int]) -> bytes:
    sums, halves = np.empty(8, np.uint64), np.empty(2, np.uint64)
    xxh3.begin(sums)
    first = 0
    for cut in sorted(cuts):
        first = xxh3.absorb(data, first, cut, sums)
    xxh3.finish(data, first, data.size, data.size, sums, halves)
    return halves.astype(">u8").tobytes()


@given(size=st.integers(xxh3.SHORT + 1, 6000), seed=st.integers(0, 1 << 32), data=st.data())
def test_digests_are_those_of_the_library_however_data_come(size: int, seed: int, data: st.DataObject) -> None:
    numbers = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    cuts = data.draw(st.lists(st.integers(0, size - 1), max_size=4))
    assert _digest(numbers, cuts) == xxhash.xxh3_128_digest(numbers.data)


@pytest.mark.parametrize("size", [241, 1023, 1024, 1025, 2048, 2049, 1 << 19])
@pytest.mark.parametrize("offset", [0, 1, 8])
def test_ends_of_blocks_and_alignment(size: int, offset: int) -> None:
    numbers = np.random.default_rng(size).integers(0, 256, size + offset, np.uint8)[offset:]
    assert _digest(numbers, []) == xxhash.xxh3_128_digest(numbers.data)
