"""The log of training data keeps an even sample of a bounded size."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from subnetray.algorithms.setting import DataLog, Example


@given(parts=st.lists(st.integers(0, 40), max_size=20), limit=st.integers(2, 16))
def test_data_log_is_bounded_evenly_spaced_and_counts_everything(parts: list[int], limit: int) -> None:
    log = DataLog(limit=limit)
    number = 0
    for size in parts:
        log.add([Example([index], [1] * (index % 3)) for index in range(number, number + size)])
        number += size
    kept = [example.prompt[0] for example in log.examples]
    assert log.seen == number
    assert log.tokens == sum(index % 3 for index in range(number))
    assert len(kept) <= limit
    assert len(kept) >= min(number, limit // 2)
    gaps = {later - earlier for earlier, later in itertools.pairwise(kept)}
    assert len(gaps) <= 1
    assert kept[:1] == [0][: number > 0]


def test_data_log_does_not_depend_on_how_the_data_were_batched() -> None:
    examples = [Example([index], [1]) for index in range(100)]
    whole, split = DataLog(limit=8), DataLog(limit=8)
    whole.add(examples)
    for start in range(0, 100, 7):
        split.add(examples[start : start + 7])
    assert whole.examples == split.examples
