"""Updates between weights: exact, small, and checked at the end."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.rollout.sync.copies import Copies
from subnetray.rollout.sync.published import Published
from subnetray.rollout.sync.transfer import SyncError, Update, difference, write
from subnetray.subnetwork.bits import flat_integers, integers

Weights = dict[str, torch.Tensor]
Bits = npt.NDArray[Any]


def _model(seed: int, dtype: torch.dtype = torch.bfloat16) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embed": (50, 8), "norm": (8,), "proj": (300, 8)}
    return {name: (0.02 * torch.randn(shape, generator=generator)).to(dtype) for name, shape in shapes.items()}


def _trained(init: Weights, steps: int, seed: int, lr: float = 3e-5) -> list[Weights]:
    """The weights after each of ``steps`` steps of Adam's size on fp32 masters, as they are sampled from."""
    generator = torch.Generator().manual_seed(seed)
    masters = {name: tensor.float() for name, tensor in init.items()}
    versions = []
    for _ in range(steps):
        for name, master in masters.items():
            masters[name] = master + lr * torch.randn(master.shape, generator=generator).sign()
        versions.append({name: master.to(init[name].dtype) for name, master in masters.items()})
    return versions


def _is(bits: dict[str, Bits] | None, weights: Weights) -> bool:
    return bits is not None and all(np.array_equal(bits[name], flat_integers(t)) for name, t in weights.items())


# --- one tensor


@given(
    size=st.integers(1, 3000),
    density=st.sampled_from([0.0, 0.0005, 0.003, 0.02, 0.2, 0.9, 1.0]),
    dtype=st.sampled_from([np.int16, np.int32]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_piece_turns_old_into_new_and_never_exceeds_a_dense_copy(
    size: int, density: float, dtype: type, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    old: Bits = generator.integers(-1000, 1000, size).astype(dtype)
    new: Bits = np.where(generator.random(size) < density, old + 1, old).astype(dtype)
    piece = difference(old, new)
    if piece is None:
        assert np.array_equal(old, new)
        return
    assert piece.nbytes <= new.nbytes
    write(piece, old)
    assert np.array_equal(old, new)


@pytest.mark.parametrize("gap", [0, 1, 254, 255, 256, 509, 510, 511, 2000])
def test_gaps_around_the_longest_that_a_byte_holds(gap: int) -> None:
    old = np.zeros(5000, np.int16)
    new = old.copy()
    new[[0, gap + 1]] = 7
    piece = difference(old, new)
    assert piece is not None
    assert piece.positions is not None
    assert piece.nbytes == 2 * 2 + 2 + gap // 255
    write(piece, old)
    assert np.array_equal(old, new)


def test_a_hundredth_of_bf16_coordinates_costs_under_a_fiftieth_of_the_bytes() -> None:
    generator = np.random.default_rng(0)
    old = np.zeros(1_000_000, np.int16)
    new = (generator.random(old.size) < 0.01).astype(np.int16)
    piece = difference(old, new)
    assert piece is not None
    assert piece.nbytes / new.nbytes < 0.02


def test_signs_of_zero_and_nan_travel_bit_for_bit() -> None:
    old = torch.tensor([0.0, -0.0, 1.0, float("nan"), *[2.0] * 60], dtype=torch.bfloat16)
    new = torch.tensor([-0.0, 0.0, float("nan"), 1.0, *[2.0] * 60], dtype=torch.bfloat16)
    bits = flat_integers(old).copy()
    piece = difference(bits, flat_integers(new))
    assert piece is not None
    write(piece, bits)
    assert np.array_equal(bits, integers(new).numpy())


# --- a run and an engine


def _ways(published: Published, step: Update | None) -> list[list[Update]]:
    since = published.since_init()
    rest = [] if since is None else [since]
    return [[] if step is None else [step], rest, [published.init(), *rest]]


def _synchronise(copies: Copies, published: Published, step: Update | None) -> tuple[dict[str, Bits], int]:
    """The weights that arrive, and how often the engine had to ask again."""
    for asked, updates in enumerate(_ways(published, step)):
        bits = copies.take(published.digest, updates)
        if bits is not None:
            return bits, asked
    raise AssertionError("an engine that is given everything holds nothing")


def _copies(limit: int = 1 << 30) -> Copies:
    return Copies(limit)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_sixty_steps_arrive_bit_for_bit(dtype: torch.dtype) -> None:
    init = _model(0, dtype)
    published, copies = Published(init), _copies()
    assert _is(_synchronise(copies, published, None)[0], init)
    for weights in _trained(init, 60, seed=1):
        bits, asked = _synchronise(copies, published, published.advance(weights))
        assert _is(bits, weights)
        assert asked == 0  # a step's own update was enough


def test_live_parameters_may_be_changed_in_place_after_publishing() -> None:
    weights = _model(0)
    published, copies = Published(weights), _copies()
    kept = {name: tensor.clone() for name, tensor in weights.items()}
    weights["norm"].zero_()
    assert _is(_synchronise(copies, published, None)[0], kept)
    step = published.advance(weights)
    kept = {name: tensor.clone() for name, tensor in weights.items()}
    weights["norm"].fill_(1)
    assert _is(_synchronise(copies, published, step)[0], kept)
    assert _is(_synchronise(_copies(), published, step)[0], kept)


def test_two_runs_take_turns_on_one_engine_and_share_the_init() -> None:
    init = _model(0)
    copies = _copies()
    runs = [(Published(init), _trained(init, 30, seed)) for seed in (1, 2)]
    asked = [_synchronise(copies, published, None)[1] for published, _ in runs]
    assert asked == [2, 0]  # the second run finds its init there
    first_steps = []
    for step in range(30):
        for published, versions in runs:
            bits, again = _synchronise(copies, published, published.advance(versions[step]))
            assert _is(bits, versions[step])
            first_steps.append(again)
    # The update of a first step starts from the init, which stays for the other run.
    assert first_steps == [0] * 60
    assert _is(copies.take(Published(init).digest, []), init)


def test_an_engine_that_lost_everything_is_given_the_init_and_what_changed_since() -> None:
    init = _model(0)
    published, copies = Published(init), _copies()
    versions = _trained(init, 10, seed=1)
    for number, weights in enumerate(versions):
        if number == 5:
            copies = _copies()
        bits, asked = _synchronise(copies, published, published.advance(weights))
        assert _is(bits, weights)
        assert asked == {0: 2, 5: 2}.get(number, 0)


def test_a_run_that_was_dropped_needs_no_second_copy_of_the_init() -> None:
    init = _model(0)
    copies = _copies(limit=0)
    runs = [(Published(init), _trained(init, 4, seed)) for seed in range(4)]
    for step in range(4):
        for published, versions in runs:
            assert _is(_synchronise(copies, published, published.advance(versions[step]))[0], versions[step])
    published = runs[0][0]
    assert copies.take(published.digest, []) is None  # dropped: others came after it


def test_what_several_copies_have_in_common_counts_once() -> None:
    init = _model(0)
    size = sum(tensor.nbytes for tensor in init.values())
    norm = init["norm"].nbytes
    for limit, kept in ((size + 5 * norm, True), (size + norm, False)):
        copies = _copies(limit)
        runs = [Published(init) for _ in range(5)]
        _synchronise(copies, runs[0], None)
        for number, published in enumerate(runs):
            _synchronise(copies, published, published.advance(init | {"norm": init["norm"] + number + 1}))
        assert (copies.take(runs[0].digest, []) is not None) == kept


def test_returning_to_the_init_sends_nothing_to_who_holds_it() -> None:
    init = _model(0)
    published, copies = Published(init), _copies()
    _synchronise(copies, published, None)
    for weights in (*_trained(init, 2, seed=1), init):
        step = published.advance(weights)
    assert published.since_init() is None
    assert published.advance(init) is None
    assert _is(copies.take(published.digest, [step] if step else []), init)


@pytest.mark.parametrize("what", ["value", "position", "missing"])
def test_damage_on_the_way_is_an_error_that_names_the_tensor(what: str) -> None:
    init = _model(0)
    published, copies = Published(init), _copies()
    _synchronise(copies, published, None)
    step = published.advance(_trained(init, 1, seed=1)[0])
    assert step is not None
    piece = step.pieces["proj"]
    assert piece.positions is not None
    pieces = dict(step.pieces)
    if what == "value":
        pieces["proj"] = dataclasses.replace(piece, values=np.bitwise_xor(piece.values, 1))
    elif what == "position":
        pieces["proj"] = dataclasses.replace(piece, positions=np.roll(piece.positions, 1))
    else:
        del pieces["proj"]
    with pytest.raises(SyncError, match="tensor 'proj' is not at the engine what the run published"):
        copies.take(step.digest, [dataclasses.replace(step, pieces=pieces)])
    # Nothing wrong is kept.
    assert copies.take(step.digest, []) is None
    assert _is(_synchronise(copies, published, step)[0], _trained(init, 1, seed=1)[0])


def test_weights_have_one_digest_whoever_publishes_them_and_others_another() -> None:
    init = _model(0)
    digests = {Published(init).digest, Published(dict(reversed(init.items()))).digest}
    assert len(digests) == 1
    others = [_model(1), init | {"norm": -init["norm"]}, {**init, "proj": init["embed"], "embed": init["proj"]}]
    names = [Published(weights).digest for weights in (init, *others)]
    assert all(one != other for one, other in itertools.combinations(names, 2))


@pytest.mark.parametrize("density", [0.3, 0.02])
def test_a_piece_of_another_size_is_refused(density: float) -> None:
    generator = np.random.default_rng(0)
    old: Bits = np.zeros(1000, np.int16)
    piece = difference(old, (generator.random(1000) < density).astype(np.int16))
    assert piece is not None
    assert piece.packed == (density > 0.1)
    with pytest.raises(ValueError, match=r"values|shape"):
        write(dataclasses.replace(piece, values=piece.values[1:]), old)
