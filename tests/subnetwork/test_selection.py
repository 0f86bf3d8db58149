"""Numbers found by their rank, against sorting all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork.selection import kth_smallest


@given(
    kind=st.sampled_from([np.int16, np.int32, np.int64, np.uint64]),
    few=st.booleans(),
    n=st.integers(1, 200),
    rank=st.floats(0, 1),
    chunk=st.integers(1, 50),
    seed=st.integers(0, 1 << 32),
)
def test_the_kth_smallest_is_that_of_sorting(kind: Any, few: bool, n: int, rank: float, chunk: int, seed: int) -> None:
    most = 3 if few else np.iinfo(kind).max
    numbers = np.random.default_rng(seed).integers(0, most, n, dtype=kind, endpoint=True)
    parts = [numbers[start : start + chunk] for start in range(0, n, chunk)]
    k = 1 + int(rank * (n - 1))
    assert kth_smallest(lambda: parts, 8 * numbers.itemsize, k) == int(np.sort(numbers)[k - 1])
