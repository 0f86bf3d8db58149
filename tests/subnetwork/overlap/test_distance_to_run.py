"""How near a final is to another's: hand-worked, against numpy, and what Σ lr implies by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import MismatchError, distance_to_run

TOLERANCES = (0.0, 1e-5, 1e-3)


def test_by_hand() -> None:
    init = {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([[0.0, 2.0]])}
    other = {"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([[4.0, 2.0]])}
    final = {"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([[2.0, 2.0 + 2**-11]])}
    near = distance_to_run(final, other, init, TOLERANCES)
    assert near.relative == pytest.approx(math.hypot(2, 2**-11) / 5)
    assert near.equal == {0.0: 0.5, 1e-5: 0.5, 1e-3: 0.75}
    assert near.bound is None
    assert distance_to_run(other, other, init, TOLERANCES).relative == 0
    assert distance_to_run(init, other, init, TOLERANCES).relative == 1
    assert math.isnan(distance_to_run(final, init, init, TOLERANCES).relative)


def test_finals_may_be_exported_in_other_dtypes() -> None:
    init = {"w": torch.tensor([1.0, 1.0]).bfloat16()}
    near = distance_to_run(
        {"w": torch.tensor([1.0, 1.5]).bfloat16()}, {"w": torch.tensor([1.0, 1.5 + 2**-12])}, init, (0.0, 1e-3)
    )
    assert near.equal == {0.0: 0.5, 1e-3: 1.0}


weights = st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=20)


@given(weights, st.sampled_from([1e-6, 1e-4, 1e-2]), st.sampled_from([0.0, 1e-5, 1e-2]), st.integers(0, 2**32 - 1))
def test_no_two_finals_within_reach_are_farther_apart_than_the_bound_says(
    values: list[float], one: float, two: float, seed: int
) -> None:
    init = torch.tensor(values)
    generator = torch.Generator().manual_seed(seed)

    def moved(reach: float, dtype: torch.dtype) -> dict[str, Tensor]:
        return {"w": (init + reach * (2 * torch.rand(init.shape, generator=generator) - 1)).to(dtype)}

    for dtype in (torch.float32, torch.bfloat16):
        near = distance_to_run(moved(one, dtype), moved(two, dtype), {"w": init}, TOLERANCES, (one, two))
        assert near.bound is not None
        assert all(near.equal[tolerance] >= near.bound[tolerance] for tolerance in TOLERANCES)


def test_the_bound_is_reached_where_both_move_apart() -> None:
    init = {"w": torch.tensor([0.001, 0.1, 1.0, 100.0])}
    reach = 3e-4
    one, two = ({"w": (init["w"] + sign * reach).bfloat16()} for sign in (1, -1))
    near = distance_to_run(one, two, init, TOLERANCES, (reach, reach))
    gap = np.abs(one["w"].double().numpy() - two["w"].double().numpy())
    expected = {tolerance: float(np.mean(gap <= tolerance)) for tolerance in TOLERANCES}
    assert near.bound == near.equal == expected
    assert 0 < expected[0.0] < 1  # large weights cannot change in bf16


def test_other_layouts_are_refused() -> None:
    one, two = {"w": torch.zeros(2)}, {"w": torch.zeros(3)}
    with pytest.raises(MismatchError, match=r"tensor 'w' has shapes \[2\], \[3\] and \[2\]"):
        distance_to_run(one, two, one, TOLERANCES)
    with pytest.raises(MismatchError, match="only in"):
        distance_to_run(one, {"v": torch.zeros(2)}, one, TOLERANCES)
