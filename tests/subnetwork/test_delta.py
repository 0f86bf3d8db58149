"""init + delta = final, bit for bit, whatever the bits."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from subnetray.subnetwork import CorruptFileError, Delta, DeltaError, Mask, compose, weights_hash
from tests.subnetwork.strategies import pairs, raw

Pair = tuple[dict[str, Tensor], dict[str, Tensor]]


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        raw(a[name]) == raw(b[name]) and a[name].shape == b[name].shape and a[name].dtype == b[name].dtype for name in a
    )


@given(pair=pairs())
def test_a_delta_restores_the_final_and_its_inverse_the_init(pair: Pair) -> None:
    init, final = pair
    delta = Delta.between(init, final)
    assert _same(delta.apply(init), final)
    assert _same(delta.invert().apply(final), init)
    delta.verify(init)
    assert delta.mask.k == sum(
        old != new for name in init for old, new in zip(raw(init[name]), raw(final[name]), strict=True)
    )


@given(pair=pairs())
def test_a_saved_delta_is_the_same_delta(pair: Pair) -> None:
    init, final = pair
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "delta.safetensors"
        delta = Delta.between(init, final)
        delta.save(path)
        loaded = Delta.load(path)
    assert _same(loaded.apply(init), final)
    assert loaded.dtypes == delta.dtypes


@given(first=pairs(dtypes=(torch.bfloat16,)))
def test_two_deltas_compose(first: Pair) -> None:
    a, b = first
    c = {name: torch.where(torch.rand(tensor.shape) < 0.5, tensor, a[name]) for name, tensor in b.items()}
    composed, expected = compose(Delta.between(a, b), Delta.between(b, c)), Delta.between(a, c)
    assert (composed.init_hash, composed.final_hash) == (weights_hash(a), weights_hash(c))
    assert composed.mask == expected.mask
    assert all(np.array_equal(composed.steps[name], steps) for name, steps in expected.steps.items())
    back = compose(Delta.between(a, b), Delta.between(a, b).invert())
    assert (back.mask.k, back.init_hash, back.final_hash) == (0, weights_hash(a), weights_hash(a))


def test_a_delta_belongs_to_its_init() -> None:
    init, final, other = ({"a": torch.full((4,), value).bfloat16()} for value in (1.0, 2.0, 3.0))
    delta = Delta.between(init, final)
    for wrong in (delta.apply, delta.verify, delta.invert().apply):
        with pytest.raises(DeltaError, match="made from an init of hash"):
            wrong(other)
    with pytest.raises(DeltaError, match="the first delta ends at"):
        compose(delta, Delta.between(other, init))
    damaged = dataclasses.replace(delta, steps={"a": np.ones(4, np.int16)})
    with pytest.raises(DeltaError, match="its steps are damaged"):
        damaged.verify(init)
    others = (
        dataclasses.replace(delta, dtypes={"a": torch.float16}),
        dataclasses.replace(delta, mask=Mask(delta.mask.bits, {"a": (2, 2)})),
        dataclasses.replace(
            delta,
            dtypes={"b": torch.bfloat16},
            mask=Mask({"b": delta.mask.bits["a"]}, {"b": (4,)}),
            steps={"b": delta.steps["a"]},
        ),
    )
    for unfit in others:
        for use in (unfit.apply, unfit.verify):
            with pytest.raises(DeltaError, match="names, shapes and dtypes"):
                use(init)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    init = {"a": torch.randn(50, generator=torch.Generator().manual_seed(0)).bfloat16()}
    path = tmp_path / "delta.safetensors"
    Delta.between(init, {"a": init["a"] * 1.1}).save(path)
    whole = bytearray(path.read_bytes())
    for position in range(len(whole) - 20, len(whole)):
        damaged = whole.copy()
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError):
            Delta.load(path)
    Mask.between(init, init).save(path, {})
    with pytest.raises(CorruptFileError, match="is not a subnetray delta file"):
        Delta.load(path)


@pytest.mark.parametrize(
    ("every", "factor", "bits"),
    [(2, 1.01, 2.5), (10, 1.01, 0.77), (100, 1.01, 0.16), (2, -3.0, 1.0 + 8.0), (1, -3.0, 16.1)],
)
def test_size_is_near_the_entropy_of_an_update_and_never_beyond_its_values(
    tmp_path: Path, every: int, factor: float, bits: float
) -> None:
    """Bits a coordinate. The entropy of the marks is 1, 0.47 and 0.08, that of steps by one or two some 1 a step.

    What changes by half its magnitude or its sign is no such step: then all are stored as they are.
    """
    n = 1 << 18
    generator = torch.Generator().manual_seed(0)
    init = {"a": torch.randn(n, generator=generator).bfloat16()}
    moves = torch.rand(n, generator=generator) < 1 / every
    final = {"a": torch.where(moves, init["a"] * factor, init["a"])}
    delta = Delta.between(init, final)
    delta.save(tmp_path / "delta")
    header = 600
    size = (tmp_path / "delta").stat().st_size
    assert size <= min(bits * n / 8, n / 8 + 2 * delta.mask.k) + header
    assert _same(Delta.load(tmp_path / "delta").apply(init), final)
