"""Updates side by side, against the same asked of whole weights."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import (
    Delta,
    MismatchError,
    agreement,
    displacement,
    displacement_agreement,
    displacement_distance,
    sample,
)
from tests.subnetwork.strategies import SHAPES


def _weights(draw: st.DataObject, like: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(draw.draw(st.integers(0, 10**6)))
    if like is None:
        shapes = draw.draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4))
        dtype = draw.draw(st.sampled_from([torch.bfloat16, torch.float32, torch.float64]))
        return {str(i): torch.randn(shape, generator=generator).to(dtype) for i, shape in enumerate(shapes)}
    return {
        name: torch.where(
            torch.rand(tensor.shape, generator=generator) < 0.5,
            tensor + torch.randn(tensor.shape, generator=generator),
            -tensor if draw.draw(st.booleans()) else tensor,
        ).to(tensor.dtype)
        for name, tensor in like.items()
    }


@given(data=st.data())
def test_at_all_coordinates_it_is_the_agreement_of_the_weights(data: st.DataObject) -> None:
    init = _weights(data)
    finals = [_weights(data, init), _weights(data, init)]
    everything = sample({name: tuple(tensor.shape) for name, tensor in init.items()}, 10**6, seed=0)
    vectors = [displacement(Delta.between(init, final), everything.weights(init), everything) for final in finals]
    found, expected = displacement_agreement(*vectors), agreement(init, *finals)
    assert found.n == expected.n
    assert found.sign == pytest.approx(expected.sign, nan_ok=True)
    assert found.cosine == pytest.approx(expected.cosine, abs=1e-6, nan_ok=True)


@given(data=st.data())
def test_distance_is_that_of_the_finals(data: st.DataObject) -> None:
    init = _weights(data)
    finals = [_weights(data, init), _weights(data, init)]
    everything = sample({name: tuple(tensor.shape) for name, tensor in init.items()}, 10**6, seed=0)
    vectors = [displacement(Delta.between(init, final), everything.weights(init), everything) for final in finals]
    found = displacement_distance(vectors[0], vectors[1], everything.n, (0.5, 2.0))
    start, one, two = (
        torch.cat([torch.zeros(0).double(), *(tensor.double().flatten() for tensor in weights.values())])
        for weights in (init, *finals)
    )
    for share, moved in ((found.of_one, one - start), (found.of_two, two - start)):
        expected = float((one - two).norm() / moved.norm()) if moved.norm() > 0 else math.nan
        assert share == pytest.approx(expected, rel=1e-6, nan_ok=True)
    for tau in (0.5, 2.0):
        expected = float(((one - start).float() - (two - start).float()).abs().le(tau).double().mean())
        assert found.equal[tau] == pytest.approx(expected, nan_ok=True)
        near = ((one - start).float() - (two - start).float()).abs().le(tau)
        for shares, moved in ((found.inside_one, one - start), (found.inside_two, two - start)):
            inside = float(near[moved != 0].double().mean())
            assert shares[tau] == pytest.approx(inside, nan_ok=True)


@given(data=st.data(), size=st.integers(1, 60))
def test_at_a_sample_it_is_that_of_what_was_drawn(data: st.DataObject, size: int) -> None:
    init = _weights(data)
    final = _weights(data, init)
    drawn = sample({name: tuple(tensor.shape) for name, tensor in init.items()}, size, seed=1)
    vector = displacement(Delta.between(init, final), drawn.weights(init), drawn)
    old, new = drawn.weights(init), drawn.weights(final)
    expected = torch.cat([torch.zeros(0), *((new[name].double() - old[name].double()).float() for name in old)])
    assert vector[: drawn.n].tolist() == expected.tolist()
    assert not vector[drawn.n :].any()


def test_signed_zeros_are_no_update() -> None:
    init, final = {"w": torch.tensor([0.0, 1.0])}, {"w": torch.tensor([-0.0, 2.0])}
    everything = sample({"w": (2,)}, 2, seed=0)
    vector = displacement(Delta.between(init, final), init, everything)
    assert displacement_agreement(vector, vector).n == 1


def test_what_does_not_belong_together_is_refused() -> None:
    init = {"w": torch.ones(40)}
    delta = Delta.between(init, {"w": torch.zeros(40)})
    drawn, few = sample({"w": (40,)}, 40, seed=0), sample({"w": (40,)}, 4, seed=0)
    with pytest.raises(MismatchError, match="another shape or dtype"):
        displacement(delta, {"w": torch.ones(40).bfloat16()}, drawn)
    with pytest.raises(MismatchError, match="another shape or dtype"):
        displacement(delta, {"w": torch.ones(41)}, sample({"w": (41,)}, 41, seed=0))
    with pytest.raises(MismatchError, match="not of one sample"):
        displacement_agreement(displacement(delta, init, drawn), displacement(delta, few.weights(init), few))
    with pytest.raises(MismatchError, match="not of one sample"):
        displacement_distance(displacement(delta, init, drawn), displacement(delta, few.weights(init), few), 4, ())
