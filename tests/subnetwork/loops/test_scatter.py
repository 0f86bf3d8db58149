"""Numbers at marked places, against numpy's own indexing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork.loops.scatter import add, kept, put


@given(
    integer=st.sampled_from([np.int16, np.int32, np.int64]),
    n=st.integers(0, 300),
    seed=st.integers(0, 1 << 32),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
def test_what_is_kept_is_put_back(integer: type[np.signedinteger], n: int, seed: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    bits = generator.integers(-100, 100, n, integer)
    marks = generator.random(n) < share
    values = kept(bits, marks, int(np.count_nonzero(marks)))
    assert np.array_equal(values, bits[marks])
    other = generator.integers(-100, 100, n, integer)
    put_back, added = np.where(marks, bits, other), np.where(marks, bits + other, other)
    out = np.empty_like(other)
    add(values, marks, other, out)
    assert np.array_equal(out, added)
    put(values, marks, other)
    assert np.array_equal(other, put_back)


@pytest.mark.parametrize("offset", [1, 2])
def test_parts_of_arrays_need_no_alignment(offset: int) -> None:
    bits = np.arange(100, dtype=np.int16)
    marks = bits % 3 == 0
    assert (
        kept(bits[offset:], marks[offset:], int(marks[offset:].sum())).tolist()
        == bits[offset:][marks[offset:]].tolist()
    )
