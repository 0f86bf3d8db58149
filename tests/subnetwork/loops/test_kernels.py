"""Compiled loops against what numpy and Python make of the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork.bits import from_integers
from subnetray.subnetwork.loops.kernels import Levels, tally

INTEGERS: dict[torch.dtype, Any] = {
    torch.bfloat16: np.int16,
    torch.float16: np.int16,
    torch.float32: np.int32,
    torch.float64: np.int64,
}


@given(
    dtype=st.sampled_from(sorted(INTEGERS, key=str)),
    n=st.integers(0, 300),
    seed=st.integers(0, 1 << 32),
    finite=st.booleans(),
)
def test_visible_and_odd_coordinates_are_seen_whatever_the_bits(
    dtype: torch.dtype, n: int, seed: int, finite: bool
) -> None:
    generator, integer = np.random.default_rng(seed), INTEGERS[dtype]
    least, largest = np.iinfo(integer).min, np.iinfo(integer).max
    old = generator.integers(least, largest, n, integer, endpoint=True)
    new = np.where(generator.random(n) < 0.5, generator.integers(least, largest, n, integer, endpoint=True), old)
    new = new.astype(integer)
    for bits in (old, new):  # zeros of both signs
        bits[generator.random(n) < 0.2] = 0
        bits[generator.random(n) < 0.2] = least
        if finite:
            bits[~from_integers(bits, dtype).isfinite().numpy()] = 1
    visible, nonfinite = tally(old, new, dtype)
    zeros = ((old == 0) | (old == least)) & ((new == 0) | (new == least))
    assert visible == int(np.count_nonzero((old != new) & ~zeros))
    finite_in = [from_integers(bits, dtype).isfinite().numpy() for bits in (old, new)]
    assert nonfinite == int(np.count_nonzero(~(finite_in[0] & finite_in[1])))


@given(n=st.integers(0, 300), seed=st.integers(0, 1 << 32))
def test_pairs_are_beyond_the_levels_that_torch_says_whatever_the_bits(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    old, new = generator.integers(-(1 << 15), 1 << 15, (2, n), np.int16)
    new = np.where(generator.random(n) < 0.5, old + generator.integers(-5, 5, n, np.int16), new)
    old, new = old[old != new], new[old != new]
    a, b = (from_integers(bits, torch.bfloat16) for bits in (old, new))
    levels = Levels.none([0.0, 1e-3, 1e30], [1, 2, 1 << 20])
    levels.add(old, new)
    distance = (b.float() - a.float()).abs()
    assert levels.beyond.tolist() == [int((~(distance <= np.float32(tau))).sum()) for tau in (0.0, 1e-3, 1e30)]
    ordered = [np.where(bits < 0, -(bits.astype(int) & 0x7FFF), bits) for bits in (old, new)]
    steps, undefined = np.abs(ordered[0] - ordered[1]), (a.isnan() | b.isnan()).numpy()
    assert levels.far.tolist() == [int(((steps >= k) | undefined).sum()) for k in (1, 2, 0xFFFF)]


def test_counts_do_not_overflow_their_lanes() -> None:
    old = np.zeros((1 << 18) + 3, np.int16)
    assert tally(old, old + np.int16(1), torch.bfloat16) == (old.size, 0)


@pytest.mark.parametrize("offset", [1, 2])
def test_parts_of_arrays_need_no_alignment(offset: int) -> None:
    bits = np.arange(100, dtype=np.int16)
    assert tally(bits[offset:], bits[offset:] * 2, torch.bfloat16)[0] == 100 - offset
