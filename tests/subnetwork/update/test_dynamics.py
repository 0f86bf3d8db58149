"""The dynamics of an update: hand-worked trajectories, identities, and references over whole trajectories."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import count_changed
from subnetray.subnetwork.update.dynamics import (
    Counts,
    Dynamics,
    Step,
    Summary,
    flip_threshold,
    growth_exponent,
)
from subnetray.subnetwork.update.movement import OnDevice, OnHost, followers
from subnetray.subnetwork.visible import MismatchError, changed
from tests.subnetwork.strategies import bits, from_bits

EXPORTS = (torch.bfloat16, torch.float32)


def follow(
    values: list[list[float]], export: torch.dtype = torch.float32, snapshots: tuple[int, ...] = (), **options: Any
) -> tuple[list[Step], Summary]:
    """Measure a trajectory of one tensor held in fp32; ``values`` starts with the init, the step is the position."""
    held = torch.tensor(values)
    dynamics = Dynamics({"w": held[0].to(export)}, {"w": held[0]}, **options)
    steps = [dynamics.measure(step, {"w": held[step]}, snapshot=step in snapshots) for step in range(1, len(values))]
    return steps, dynamics.summary()


def test_a_trajectory_worked_out_by_hand() -> None:
    #            still  there and back  one way  away, over to the other side
    steps, summary = follow([[1, 1, 1, 0], [1, 2, 2, 3], [1, 1, 4, -1]])
    assert summary.counts == Counts(n=4, ever=3, effective=2)
    assert (summary.counts.never, summary.counts.cancelled) == (1, 1)
    assert summary.counts.cancelled_of_n == 1 / 4
    assert summary.counts.cancelled_of_ever == 1 / 3
    assert [step.density for step in steps] == [3 / 4, 2 / 4]
    assert [step.density_step for step in steps] == [3 / 4, 3 / 4]
    assert [step.density_ever for step in steps] == [3 / 4, 3 / 4]
    assert [step.update_norm for step in steps] == pytest.approx([math.sqrt(11), math.sqrt(10)])
    assert [step.step_norm for step in steps] == pytest.approx([math.sqrt(11), math.sqrt(21)])
    # |Δ| is 0, 0, 3, 1 at the end; the paths are 0, 2, 3 and 7 long.
    assert [step.coherence for step in steps] == pytest.approx([1.0, 4 / 12])
    assert summary.coherence == summary.coherence_held == pytest.approx(4 / 12)
    assert summary.coherence_q50 == pytest.approx(1 / 7)  # of 0, 1 and 1/7: what never moved has none
    assert (summary.moves, summary.measured) == (6, 2)
    assert (summary.density_step, summary.density_ever) == (3 / 4, 3 / 4)
    assert summary.growth == summary.growth_held == pytest.approx(math.log(10 / 11) / 2 / math.log(2))


def test_what_the_export_does_not_show_moves_held_weights_alone() -> None:
    # In bf16 the values at 1 are 2^-7 apart: half of that away it would be rounded to even, beyond it is visible.
    steps, summary = follow([[1.0, 1.0], [1 + 0.9 * 2**-8, 1 + 1.1 * 2**-8]], torch.bfloat16)
    assert summary.counts == Counts(n=2, ever=1, effective=1)
    assert steps[0].update_norm == 2**-7
    assert steps[0].update_norm_held == pytest.approx(math.hypot(0.9, 1.1) * 2**-8, rel=1e-4)
    assert steps[0].threshold_q50 == steps[0].threshold_step_q50 == pytest.approx(1.0, rel=1e-4)
    assert steps[0].beyond_threshold == 1 / 2


def test_signs_of_zero_are_no_change() -> None:
    _, summary = follow([[0.0, -0.0, 0.0], [-0.0, 0.0, 1.0], [0.0, -0.0, -0.0]], torch.bfloat16)
    assert summary.counts == Counts(n=3, ever=1, effective=0)
    assert summary.moves == 2


def test_snapshots_are_a_cadence_of_their_own() -> None:
    _, summary = follow([[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0]], snapshots=(2, 3))
    assert summary.counts == Counts(n=4, ever=3, effective=1)
    assert summary.snapshots == 2
    assert summary.at_snapshots == Counts(n=4, ever=2, effective=1)


def test_modules_add_up_to_the_whole() -> None:
    init = {f"layers.0.{name}.weight": torch.zeros(3, 5) for name in ("q_proj", "k_proj", "norm")}
    init["layers.1.q_proj.weight"] = torch.zeros(2, 2)
    dynamics = Dynamics(init, init)
    for step in range(1, 4):
        held = {
            name: torch.arange(tensor.numel()).reshape(tensor.shape) % (step + place)
            for place, (name, tensor) in enumerate(init.items(), 1)
        }
        dynamics.measure(step, {name: tensor.float() for name, tensor in held.items()})
    summary = dynamics.summary()
    assert list(summary.by_module) == ["q", "k", "norm"]
    assert sum(summary.by_module.values(), Counts(0, 0, 0)) == summary.counts
    assert summary.by_module["q"].n == 19
    assert summary.counts.cancelled > 0


@st.composite
def trajectories(draw: st.DrawFn) -> list[dict[str, Tensor]]:
    """Weights in an export format at up to five moments: any bits, about half of them as the moment before."""
    dtype = draw(st.sampled_from(EXPORTS))
    sizes = draw(st.lists(st.sampled_from([0, 1, 7, 8, 9, 33]), min_size=1, max_size=2))
    moments: list[dict[str, list[int]]] = []
    for _ in range(draw(st.integers(2, 5))):
        before = moments[-1] if moments else {}
        moments.append(
            {
                str(index): [
                    draw(st.one_of(st.just(value), bits(dtype)))
                    for value in before.get(str(index), draw(st.lists(bits(dtype), min_size=size, max_size=size)))
                ]
                for index, size in enumerate(sizes)
            }
        )
    return [{name: from_bits(values, (len(values),), dtype) for name, values in moment.items()} for moment in moments]


@given(trajectories(), st.integers(1, 3))
def test_counts_are_those_of_whole_masks(moments: list[dict[str, Tensor]], every: int) -> None:
    init, *later = moments
    fine, coarse = Dynamics(init, init), Dynamics(init, init)
    union = {name: torch.zeros(tensor.shape, dtype=torch.bool) for name, tensor in init.items()}
    n = sum(tensor.numel() for tensor in init.values())
    for step, weights in enumerate(later, 1):
        found = fine.measure(step, weights, snapshot=step % every == 0 or step == len(later))
        if step % every == 0 or step == len(later):
            coarse.measure(step, weights)
        union = {name: mask | changed(init[name], weights[name]) for name, mask in union.items()}
        if n:
            assert found.density == count_changed(init, weights) / n
            assert found.density_step == count_changed(moments[step - 1], weights) / n
            assert found.density_ever == sum(int(mask.sum()) for mask in union.values()) / n
        summary = fine.summary()
        assert summary.counts.never + summary.counts.ever == n
        assert summary.counts.ever == summary.counts.effective + summary.counts.cancelled
        assert summary.counts.cancelled >= 0
    assert fine.summary().at_snapshots == coarse.summary().counts
    assert coarse.summary().counts.ever <= fine.summary().counts.ever
    assert coarse.summary().counts.effective == fine.summary().counts.effective


@given(trajectories(), st.integers(0, 4))
def test_what_is_interrupted_goes_on_as_if_it_were_not(moments: list[dict[str, Tensor]], interrupted: int) -> None:
    init, *later = moments
    whole, part, rest = (Dynamics(init, init) for _ in range(3))
    for step, weights in enumerate(later, 1):
        if step == interrupted:
            rest.resume(part.kept())
        found = whole.measure(step, weights, snapshot=step % 2 == 0)
        going = part if step < interrupted else rest
        assert repr(going.measure(step, weights, snapshot=step % 2 == 0)) == repr(found)
    if interrupted <= len(later):
        assert repr(rest.summary()) == repr(whole.summary())


@given(trajectories())
def test_a_device_finds_what_the_host_finds(moments: list[dict[str, Tensor]]) -> None:
    for name, init in moments[0].items():
        previous, current = moments[-2][name], moments[-1][name]
        size = (init.numel() + 7) // 8
        bits = np.zeros((4, size), np.uint8)
        here, there = OnHost(init, np.empty(init.nbytes, np.uint8), *bits[:2]), OnDevice(init, *bits[2:])
        for moment in (previous, current):
            assert list(there.advance(moment)) == pytest.approx(list(here.advance(moment)), rel=1e-12, nan_ok=True)
            assert bits[2:].tolist() == bits[:2].tolist()
        there.go_back(here.previous())
        here.go_back(there.previous())
        assert there.advance(init).moved == here.advance(init).moved == count_changed({"": current}, {"": init})


@given(trajectories())
def test_sums_are_those_of_fp64(moments: list[dict[str, Tensor]]) -> None:
    for name, init in moments[0].items():
        previous, current = moments[-2][name], moments[-1][name]
        delta, step = current.double() - init.double(), current.double() - previous.double()
        expected = [float(each.sum()) for each in (delta.abs(), step.abs(), delta.square(), step.square())]
        bits = np.zeros((2, (init.numel() + 7) // 8), np.uint8)
        (follower,) = followers([init], [bits[0]], [bits[1]])
        follower.advance(previous)
        assert list(follower.advance(current)[2:]) == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("export", EXPORTS)
def test_weights_that_are_trained_in_place_are_not_their_own_past(export: torch.dtype) -> None:
    held = torch.ones(10, 3, dtype=export).t()  # and not contiguous
    dynamics = Dynamics({"w": held.clone()}, {"w": held})
    for step in range(1, 3):
        held[0] += 1
        assert dynamics.measure(step, {"w": held}).density_step == 1 / 3
    assert dynamics.summary().coherence == 1


@pytest.mark.parametrize(("persistence", "exponent", "tolerance"), [(1.0, 1.0, 1e-6), (0.0, 0.5, 0.05)])
def test_drift_grows_with_the_steps_and_a_random_walk_with_their_root(
    persistence: float, exponent: float, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    drift = torch.randn(4000, generator=generator)
    values = [torch.zeros(4000)]
    for _ in range(50):
        noise = torch.randn(4000, generator=generator)
        values.append(values[-1] + persistence * drift + (1 - persistence) * noise)
    _, summary = follow(torch.stack(values).tolist(), sample=500)
    assert summary.growth == pytest.approx(exponent, abs=tolerance)
    assert summary.growth_held == pytest.approx(exponent, abs=2 * tolerance)
    # |Σ| of 50 normal steps is √50 times that of one.
    assert summary.coherence == pytest.approx(1.0 if persistence else 50**-0.5, rel=0.05 if not persistence else 1e-6)


def test_growth_is_fitted_where_something_has_moved() -> None:
    assert growth_exponent([1, 2, 4, 8], [0.0, 3.0, 12.0, 48.0]) == pytest.approx(2.0)
    assert math.isnan(growth_exponent([1, 2], [0.0, 1.0]))
    assert math.isnan(growth_exponent([], []))


@given(bits(torch.bfloat16), st.sampled_from([torch.bfloat16, torch.float16, torch.float32]))
def test_the_flip_threshold_is_half_the_way_to_the_next_value(pattern: int, dtype: torch.dtype) -> None:
    weight = from_bits([pattern], (1,), torch.bfloat16).to(dtype).abs()
    after = (weight.view({2: torch.int16, 4: torch.int32}[dtype.itemsize]) + 1).view(dtype)
    if bool(after.isfinite()):
        half = (after.double() - weight.double()) / 2
        assert flip_threshold(weight.double().numpy(), dtype).tolist() == half.tolist()
        assert flip_threshold(-weight.double().numpy(), dtype).tolist() == half.tolist()


def test_a_sample_of_all_coordinates_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    init = {name: torch.randn(60, generator=generator) for name in "ab"}
    final = {name: tensor + 0.01 * torch.randn(60, generator=generator) for name, tensor in init.items()}
    found = Dynamics(init, init).measure(1, final)
    delta = np.abs(np.concatenate([(final[name].double() - init[name].double()).numpy() for name in "ab"]))
    assert found.update_norm_held == pytest.approx(found.update_norm) == pytest.approx(np.linalg.norm(delta))
    assert [found.delta_q50, found.delta_q90, found.delta_q99] == np.quantile(delta, [0.5, 0.9, 0.99]).tolist()
    threshold = flip_threshold(np.concatenate([init[name].double().numpy() for name in "ab"]), torch.float32)
    assert found.threshold_q90 == np.quantile(delta / threshold, 0.9)


def test_a_sample_stands_for_all_tensors_and_is_drawn_by_its_seed() -> None:
    init = {"small": torch.zeros(1000), "large": torch.zeros(9000)}
    # Each coordinate says where it is: the sample's largest values tell which were drawn.
    final = {"small": torch.ones(1000), "large": torch.full((9000,), 3.0)}
    steps = [Dynamics(init, init, sample=2000, seed=seed).measure(1, final) for seed in (0, 0, 1)]
    assert steps[0].update_norm_held == pytest.approx(math.sqrt(1000 + 81000), rel=0.02)
    assert steps[0] == steps[1]
    assert steps[0].update_norm_held != steps[2].update_norm_held


def test_nothing_is_known_of_no_steps_and_no_coordinates() -> None:
    nothing = Dynamics({"w": torch.zeros(0)}, {"w": torch.zeros(0)})
    assert nothing.measure(1, {"w": torch.zeros(0)}).to_dict() == {"update_norm": 0.0, "step_norm": 0.0}
    values = Dynamics({"w": torch.zeros(3)}, {"w": torch.zeros(3)}).summary().to_dict()
    assert values["counts"] == {
        **{"n": 3, "never": 3, "ever": 0, "effective": 0, "cancelled": 0},
        **{"cancelled_of_n": 0.0, "cancelled_of_ever": None},
    }
    assert values["growth"] is values["coherence_held"] is None


def test_what_cannot_be_followed_is_refused() -> None:
    init = {"a": torch.zeros(2), "b": torch.zeros(2)}
    dynamics = Dynamics(init, init)
    with pytest.raises(MismatchError, match="tensor 'b' is only in the first"):
        dynamics.measure(1, {"a": torch.zeros(2)})
    with pytest.raises(MismatchError, match=r"tensor 'b' is \(2,\) in the init, \(3,\) now"):
        dynamics.measure(1, {"a": torch.zeros(2), "b": torch.zeros(3)})
    with pytest.raises(TypeError, match="in bfloat16 or float32, not in"):
        Dynamics({"a": torch.zeros(2).half()}, {"a": torch.zeros(2)})
