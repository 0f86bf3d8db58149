"""Sketches: exact when the sample is everything, and standard errors that cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import (
    Mask,
    MismatchError,
    Weights,
    estimate,
    pair_counts,
    sample,
    strata_of,
    ulp_strata,
)
from subnetray.subnetwork.overlap import sketch

SHAPES = {"a": (60, 50), "b": (7,), "c": (0,), "d": (1,), "e": (40, 30)}


def _init(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).bfloat16() for name, shape in SHAPES.items()}


def _masks(init: Weights, count: int) -> list[Mask]:
    """Masks that share where |w| is small, a tensor of another density, and a few planted coordinates."""
    generator = torch.Generator().manual_seed(5)
    planted = {name: torch.rand(t.shape, generator=generator) < 0.1 for name, t in init.items()}
    return [
        Mask.from_bools(
            {
                name: planted[name] | (torch.rand(t.shape, generator=generator) < (0.5 - 0.2 * t.float().abs()))
                for name, t in init.items()
            }
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("by_tensor", [True, False])
def test_a_sample_of_everything_is_exact(by_tensor: bool) -> None:
    init = _init()
    masks = _masks(init, 3)
    drawn = sample(SHAPES, 10**9, seed=1, by_tensor=by_tensor)
    assert drawn.n == masks[0].n
    strata = ulp_strata(drawn.weights(init))
    found = estimate(drawn, *2 * [[strata.arrange(drawn.mask(mask)) for mask in masks]])
    whole = ulp_strata(init)
    exact = pair_counts(*2 * [[whole.arrange(mask) for mask in masks]])
    assert np.array_equal(found.k12, exact.k12)
    assert found.o1 == pytest.approx(exact.k12 / exact.k1[:, None])
    assert found.o2 == pytest.approx(exact.k12 / exact.k2)
    assert found.excess == pytest.approx(exact.stratified.excess, abs=1e-9)
    for name in ("k12_se", "o1_se", "o2_se", "excess_se"):
        assert not getattr(found, name).any()


@pytest.mark.parametrize("by_tensor", [True, False])
def test_two_standard_errors_cover_the_truth(by_tensor: bool) -> None:
    init = _init()
    masks = _masks(init, 2)
    whole = ulp_strata(init)
    exact = pair_counts([whole.arrange(masks[0])], [whole.arrange(masks[1])])
    truth = {
        "k12": exact.k12[0, 0],
        "o1": exact.k12[0, 0] / exact.k1[0],
        "o2": exact.k12[0, 0] / exact.k2[0],
        "excess": exact.stratified.excess[0, 0],
    }
    seeds = 300
    errors: dict[str, list[float]] = {name: [] for name in truth}
    for seed in range(seeds):
        drawn = sample(SHAPES, 800, seed, by_tensor)
        strata = ulp_strata(drawn.weights(init))
        one, two = (strata.arrange(drawn.mask(mask)) for mask in masks)
        found = estimate(drawn, [one], [two])
        for name, value in truth.items():
            error = getattr(found, f"{name}_se")[0, 0]
            errors[name].append((getattr(found, name)[0, 0] - value) / error)
    for name, values in errors.items():
        inside = float(np.mean(np.abs(values) < 2))
        assert 0.91 < inside < 0.99, name  # 95.4 % ± 3 standard deviations of 300 draws
        assert abs(np.mean(values)) < 4 / np.sqrt(seeds), name


@given(seed=st.integers(0, 100), size=st.integers(0, 500), by_tensor=st.booleans())
@settings(max_examples=30)
def test_what_is_drawn_is_what_was_there(seed: int, size: int, by_tensor: bool) -> None:
    drawn = sample(SHAPES, size, seed, by_tensor)
    again = sample(SHAPES, size, seed, by_tensor)
    init = _init()
    mask = _masks(init, 1)[0]
    if by_tensor:
        assert all(part.size >= min(2, mask.flat(name).size) for name, part in drawn.positions.items())
    else:
        assert drawn.n == size
    for name, part in drawn.positions.items():
        assert part.tolist() == again.positions[name].tolist()
        assert (np.diff(part) > 0).all()
        assert drawn.mask(mask).flat(name).tolist() == mask.flat(name)[part].tolist()
        assert torch.equal(drawn.weights(init)[name], init[name].reshape(-1)[torch.from_numpy(part)])


def test_masks_of_other_tensors_are_refused() -> None:
    drawn = sample({"a": (4, 4)}, 5, seed=0)
    with pytest.raises(MismatchError):
        drawn.mask(Mask.from_bools({"a": torch.ones(2, 8) > 0}))
    with pytest.raises(MismatchError):
        drawn.weights({"a": torch.ones(2, 8)})


def test_bits_by_position() -> None:
    bools = np.random.default_rng(0).random(77) < 0.5
    positions = np.array([0, 7, 8, 63, 76])
    assert sketch.bits_at(np.packbits(bools, bitorder="little"), positions).tolist() == bools[positions].tolist()


def test_few_coordinates_of_a_stratum_do_not_bias_its_excess() -> None:
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(30), 20).astype(np.uint8)
    one = rng.random(600) < 0.5
    two = one ^ (rng.random(600) < 0.2)
    whole = strata_of({"a": ids}, {"a": (600,)})
    arranged = [whole.arrange(Mask.from_bools({"a": torch.from_numpy(bits)})) for bits in (one, two)]
    truth = pair_counts(arranged[:1], arranged[1:]).stratified.excess[0, 0]
    found = []
    for seed in range(200):
        drawn = sample({"a": (600,)}, 150, seed)
        numbers = np.unique(ids[drawn.positions["a"]], return_inverse=True)[1].astype(np.uint8)
        few = strata_of({"a": numbers}, {"a": (150,)})
        masks = [few.arrange(drawn.mask(Mask.from_bools({"a": torch.from_numpy(bits)}))) for bits in (one, two)]
        found.append(estimate(drawn, masks[:1], masks[1:]).excess[0, 0])
    # Five of a stratum on average: without the degrees of freedom the mean would be a fifth too small.
    assert np.mean(found) == pytest.approx(truth, rel=0.08)
