"""Messages between runs and engines: what is read is what was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.rollout import Probe, Samples, Sampling, SyncError, wire
from subnetray.rollout.sync.transfer import Bits, Update, difference
from subnetray.rollout.wire import Answer, Target

_COMPLETIONS = st.lists(st.lists(st.integers(0, 1 << 20), max_size=4), max_size=4)
_NUMBERS = st.floats(-1e3, 0)


@given(
    sizes=st.lists(st.integers(1, 300), max_size=4),
    density=st.sampled_from([0.01, 0.2, 0.9]),
    dtype=st.sampled_from([np.int16, np.int32]),
    base=st.none() | st.just("before"),
    shared=st.booleans(),
)
def test_updates_arrive(sizes: list[int], density: float, dtype: type, base: str | None, shared: bool) -> None:
    generator = np.random.default_rng(0)
    pieces = {}
    for index, size in enumerate(sizes):
        old: Bits = generator.integers(-1000, 1000, size).astype(dtype)
        changed = generator.random(size) < density
        changed[0] = True
        piece = difference(old, np.where(changed, old + 1, old).astype(dtype))
        assert piece is not None
        pieces[str(index)] = piece
    sent = Update("after", base, {"0": "hash"}, pieces, shared)
    target = Target("run/step-1", "after", {}, None, initial=False)
    *_, (arrived, again) = wire.read_call(wire.call(target, [], Sampling(1.0, 2, seed=0), 0, [sent, sent]))
    assert again.digest == arrived.digest
    assert (arrived.digest, arrived.base, arrived.hashes, arrived.shared) == ("after", base, {"0": "hash"}, shared)
    assert list(arrived.pieces) == list(pieces)
    for name, piece in pieces.items():
        found = arrived.pieces[name]
        assert found.packed == piece.packed
        assert found.values.dtype == piece.values.dtype
        assert np.array_equal(found.values, piece.values)
        one, other = found.positions, piece.positions
        assert one is other is None or (one is not None and other is not None and np.array_equal(one, other))


@given(
    shapes=st.dictionaries(st.text(max_size=3), st.lists(st.integers(1, 9), max_size=3).map(tuple), max_size=3),
    probe=st.none() | st.builds(Probe, st.lists(st.integers(0, 99)), st.lists(_NUMBERS)),
    initial=st.booleans(),
    prompts=_COMPLETIONS,
    sampling=st.builds(Sampling, st.floats(0, 2), st.integers(1, 99), st.integers(0, (1 << 48) + 4096)),
    first=st.integers(0, 1 << 20),
)
def test_calls_arrive(
    shapes: dict[str, tuple[int, ...]],
    probe: Probe | None,
    initial: bool,
    prompts: list[list[int]],
    sampling: Sampling,
    first: int,
) -> None:
    target = Target("run/init", "digest", shapes, probe, initial)
    assert wire.read_call(wire.call(target, prompts, sampling, first, [])) == (target, prompts, sampling, first, [])


@given(st.builds(Answer, st.none() | st.builds(Samples, _COMPLETIONS, st.lists(st.lists(_NUMBERS))), *[_NUMBERS] * 3))
def test_answers_arrive(answer: Answer) -> None:
    assert wire.read_answer(wire.answer(answer)) == answer


def test_an_error_arrives() -> None:
    with pytest.raises(SyncError, match=r"^tensor 'a' is not what it was$"):
        wire.read_answer(wire.answer(SyncError("tensor 'a' is not what it was")))
