"""Other measures of visibility: against one coordinate at a time, and where two definitions must agree."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import Mask, MismatchError
from subnetray.subnetwork.update.distance import energy_masks, exceeds_relative, exceeds_ulps, reachable
from subnetray.subnetwork.visible import changed
from tests.subnetwork.strategies import DTYPES, pairs, raw

Pair = tuple[dict[str, Tensor], dict[str, Tensor]]


@given(pair=pairs(), ulps=st.sampled_from([2, 3, 4, 1000, 2**15, 2**63]))
def test_ulps_are_steps_from_one_number_to_the_other(pair: Pair, ulps: int) -> None:
    for name, init in pair[0].items():
        final = pair[1][name]
        assert torch.equal(exceeds_ulps(init, final, 1), changed(init, final))
        assert torch.equal(exceeds_ulps(init, final, ulps), exceeds_ulps(final, init, ulps))
        limit = 1 << (8 * init.itemsize - 1)
        numbers = zip(raw(init), raw(final), init.reshape(-1).tolist(), final.reshape(-1).tolist(), strict=True)
        expected = []
        for old, new, before, after in numbers:
            here, there = (bits if bits >= 0 else -(bits + limit) for bits in (old, new))
            expected.append(old != new if math.isnan(before) or math.isnan(after) else abs(there - here) >= ulps)
        assert exceeds_ulps(init, final, ulps).reshape(-1).tolist() == expected


@given(start=st.floats(-1e30, 1e30), steps=st.integers(0, 40), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_ulps_count_neighbours(start: float, steps: int, dtype: torch.dtype) -> None:
    init = torch.tensor([start], dtype=dtype)
    final = init.clone()
    for _ in range(steps):
        final = torch.nextafter(final, torch.full_like(final, math.inf))
    assert [bool(exceeds_ulps(init, final, k)) for k in (max(steps, 1), steps + 1)] == [steps > 0, False]


def test_ulps_below_one_are_no_distance() -> None:
    with pytest.raises(ValueError, match="ulps must be"):
        exceeds_ulps(torch.zeros(1), torch.zeros(1), 0)


@given(pair=pairs(), share=st.sampled_from([0.0, 1e-3, 0.1, 0.5]))
def test_relative_change_is_that_of_exact_arithmetic(pair: Pair, share: float) -> None:
    for name, init in pair[0].items():
        found = exceeds_relative(init, pair[1][name], share).reshape(-1).tolist()
        visible = changed(init, pair[1][name]).reshape(-1).tolist()
        for a, b, beyond, seen in zip(
            init.reshape(-1).tolist(), pair[1][name].reshape(-1).tolist(), found, visible, strict=True
        ):
            if not (math.isfinite(a) and math.isfinite(b)) or abs(b - a) == math.inf:
                assert beyond == seen
                continue
            distance, bound = abs(Fraction(b) - Fraction(a)), Fraction(share) * max(abs(Fraction(a)), abs(Fraction(b)))
            # At the border itself fp64 may round either way.
            if abs(distance - bound) > distance / 2**50 + Fraction(5, 2**1074):
                assert beyond == (distance > bound)
            assert seen or not beyond


@given(pair=pairs(dtypes=(torch.bfloat16,)))
def test_in_bf16_a_thousandth_is_bit_for_bit_among_normal_numbers(pair: Pair) -> None:
    smallest = torch.finfo(torch.bfloat16).tiny
    for name, init in pair[0].items():
        final = pair[1][name]
        normal = (init.abs() >= smallest) | (final.abs() >= smallest)
        assert torch.equal(exceeds_relative(init, final, 1e-3) & normal, changed(init, final) & normal)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_a_step_is_what_a_weight_must_move(dtype: torch.dtype) -> None:
    """Exported weights: half of the distance to the nearer neighbour reaches it (ties go to even), less does not."""
    values = torch.randn(500, generator=torch.Generator().manual_seed(0)).mul(0.02).to(dtype)
    values = torch.cat([values, torch.tensor([1.0, 0.5, -2.0, 1.5], dtype=dtype)])
    up = torch.nextafter(values, torch.full_like(values, math.inf)).double() - values.double()
    down = values.double() - torch.nextafter(values, torch.full_like(values, -math.inf)).double()
    half = torch.minimum(up, down) / 2
    for value, reach in zip(values, half.tolist(), strict=True):
        one = value[None]
        assert not reachable(one, 0.99 * reach, dtype).any()
        assert reachable(one, 1.01 * reach, dtype).all()


def test_what_can_be_reached_in_bf16_but_not_stays_in_fp32() -> None:
    """A norm's weight near 1 cannot change in bf16 under Σ lr of 5e-4 (half a step is 2e-3), and does in fp32."""
    norm = torch.full((4,), 1.0)
    assert not reachable(norm, 5e-4, torch.bfloat16).any()
    assert reachable(norm, 5e-4, torch.float32).all()
    near = torch.full((4,), 0.01)
    assert reachable(near, 5e-4, torch.bfloat16).all()
    assert not reachable(near, 0.0, torch.bfloat16).any()


@example(seed=285803, share=0.5, dtype=torch.bfloat16)  # two of energy 9 are half of 36: only without rounding
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.1, 0.5, 0.9, 0.99, 1.0]), dtype=st.sampled_from(DTYPES))
def test_no_smaller_set_holds_the_energy(seed: int, share: float, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: energies add up exactly, and there are ties.
    init = {"a": torch.zeros(2, 3, dtype=dtype), "b": torch.zeros(0, dtype=dtype), "c": torch.zeros(4, dtype=dtype)}
    final = {name: torch.from_numpy(rng.integers(-3, 4, tuple(t.shape))).to(dtype) for name, t in init.items()}
    mask = energy_masks(init, final, [share])[share]
    energy = np.concatenate([t.double().numpy().ravel() ** 2 for t in final.values()])
    chosen = np.concatenate([mask.flat(name) for name in init])
    total = energy.sum()
    assert energy[chosen].sum() >= share * total * (1 - 1e-12)
    sizes = [
        size
        for size in range(energy.size + 1)
        if any(sum(each) >= share * total * (1 - 1e-12) for each in itertools.combinations(energy, size))
    ]
    assert mask.k == sizes[0]
    assert not (chosen & (energy == 0)).any()


def test_energy_by_hand_and_ties_in_order() -> None:
    init = {"a": torch.zeros(3), "b": torch.zeros(2)}
    final = {"a": torch.tensor([1.0, -3.0, 1.0]), "b": torch.tensor([1.0, 0.0])}  # energies 1, 9, 1 and 1, 0
    masks = energy_masks(init, final, [0.5, 0.8, 1.0])
    assert [masks[share].flat("a").tolist() for share in (0.5, 0.8)] == [[False, True, False], [True, True, False]]
    assert masks[0.8].k == 2
    assert masks[1.0] == Mask.between(init, final)
    assert energy_masks(init, init, [0.9])[0.9].k == 0
    tiny = {name: tensor.double() * 1e-200 for name, tensor in final.items()}
    assert energy_masks({name: t.double() for name, t in init.items()}, tiny, [0.8])[0.8] == masks[0.8]


def test_what_has_no_energy_is_refused() -> None:
    init = {"a": torch.zeros(3)}
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="shares of energy"):
            energy_masks(init, init, [share])
    with pytest.raises(ValueError, match="'a' is not finite"):
        energy_masks(init, {"a": torch.tensor([1.0, math.nan, 0.0])}, [0.5])
    with pytest.raises(MismatchError):
        energy_masks(init, {"a": torch.zeros(4)}, [0.5])
