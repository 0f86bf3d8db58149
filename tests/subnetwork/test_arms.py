"""Arms have exactly their budget, in every stratum that they match; draws are even, ranks those of a plain sort."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import Mask, MismatchError, arms, decompose
from subnetray.subnetwork.bits import exponents

SHAPES = {"a.weight": (12, 9), "empty": (0,), "norm": (7,), "experts": (2, 3, 5)}
N = 12 * 9 + 7 + 2 * 3 * 5


def weights(seed: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


def some_mask(seed: int, density: float) -> Mask:
    generator = torch.Generator().manual_seed(seed)
    return Mask.from_bools({name: torch.rand(shape, generator=generator) < density for name, shape in SHAPES.items()})


def counts(mask: Mask) -> dict[str, int]:
    return {name: int(bools.sum()) for name, bools in mask.bools().items()}


def flat(mask: Mask) -> list[bool]:
    return torch.cat([bools.reshape(-1) for bools in mask.bools().values()]).tolist()


Make = Callable[[Mask, dict[str, Tensor], int], Mask]
DRAWN: dict[str, Make] = {
    "random": lambda like, _, seed: arms.random(like.shapes, like.k, seed),
    "random_per_tensor": lambda like, _, seed: arms.random_per_tensor(like, seed),
    "ulp_matched": arms.ulp_matched,
    "complement": lambda like, _, seed: arms.complement(like, seed),
}
RANKED: dict[str, Make] = {
    "low_magnitude": arms.low_magnitude,
    "principal": arms.principal,
    "top": lambda like, scores, seed: arms.top(scores, like.k, seed),
    "top_per_tensor": arms.top_per_tensor,
}


@pytest.mark.parametrize("arm", [pytest.param(make, id=name) for name, make in (DRAWN | RANKED).items()])
@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.0, 0.1, 0.4, 0.5, 1.0]))
@settings(max_examples=15)
def test_an_arm_has_its_budget_and_a_seed_decides_it(arm: Make, seed: int, density: float) -> None:
    like, init = some_mask(seed, density), weights(seed)
    if arm is DRAWN["complement"] and 2 * like.k > N:
        with pytest.raises(ValueError, match="fewer than it has outside"):
            arm(like, init, seed)
        return
    found = arm(like, init, seed)
    assert found.shapes == like.shapes
    assert (found.k, sum(flat(found))) == (like.k, like.k)
    assert found == arm(like, init, seed)
    assert Mask.from_bools(found.bools()) == found  # padding bits are 0


@pytest.mark.parametrize("arm", [pytest.param(make, id=name) for name, make in DRAWN.items()])
def test_what_is_drawn_differs_by_seed(arm: Make) -> None:
    like, init = some_mask(1, 0.3), weights(1)
    assert arm(like, init, 1) != arm(like, init, 2)


@pytest.mark.parametrize("name", ["random_per_tensor", "low_magnitude", "principal", "top_per_tensor"])
def test_counts_of_every_tensor_are_matched(name: str) -> None:
    like = some_mask(3, 0.3)
    assert counts((DRAWN | RANKED)[name](like, weights(3), 0)) == counts(like)


def test_counts_of_every_ulp_stratum_are_matched() -> None:
    like, init = some_mask(4, 0.3), weights(4)
    found = arms.ulp_matched(like, init, 0)
    for name, tensor in init.items():
        code = exponents(tensor)
        for value in np.unique(code):
            assert (code[found.flat(name)] == value).sum() == (code[like.flat(name)] == value).sum()
    assert found != like


def test_the_complement_is_outside() -> None:
    like = some_mask(5, 0.4)
    assert (arms.complement(like, 0) & like).k == 0


def test_every_set_is_as_likely() -> None:
    # 10 sets of 3 of 5, in two tensors; the standard deviation of a count is 21.
    shapes = {"a": (2,), "b": (3,)}
    seen: dict[tuple[bool, ...], int] = {}
    for seed in range(5000):
        key = tuple(flat(arms.random(shapes, 3, seed)))
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 10
    assert all(abs(count - 500) < 110 for count in seen.values())


@given(
    values=st.lists(st.one_of(st.floats(allow_nan=False), st.sampled_from([0.0, -0.0, 1.0])), min_size=1, max_size=40),
    data=st.data(),
)
def test_the_top_are_those_of_a_sort_and_of_equals_some(values: list[float], data: st.DataObject) -> None:
    k, cut = data.draw(st.integers(0, len(values))), data.draw(st.integers(0, len(values)))
    scores = torch.tensor(values, dtype=torch.float64)
    chosen = torch.tensor(flat(arms.top({"a": scores[:cut], "b": scores[cut:]}, k, 0)), dtype=torch.bool)
    assert sorted(scores[chosen].tolist(), reverse=True) == sorted(values, reverse=True)[:k]


def test_equal_scores_are_drawn_from_evenly() -> None:
    scores = {"a": torch.tensor([1.0, 2.0, 1.0, 0.0, 1.0, 1.0])}
    hits = torch.tensor([flat(arms.top(scores, 3, seed)) for seed in range(2000)]).sum(0)
    assert hits[[1, 3]].tolist() == [2000, 0]
    assert all(abs(int(hits[index]) - 1000) < 120 for index in (0, 2, 4, 5))  # a standard deviation is 22


def test_low_magnitude_is_a_sort_of_magnitudes() -> None:
    like, init = some_mask(6, 0.3), weights(6, torch.float32)
    found = arms.low_magnitude(like, init, 0).bools()
    for name, tensor in init.items():
        k = counts(like)[name]
        assert tensor.abs()[found[name]].sort().values.tolist() == tensor.abs().reshape(-1).sort().values[:k].tolist()


def test_principal_is_largest_in_the_truncated_decomposition() -> None:
    like, init = some_mask(7, 0.3), weights(7, torch.float32)
    found = arms.principal(like, init, 0, directions=2).bools()
    for name in ("a.weight", "experts"):
        matrix = init[name].double().reshape(-1, SHAPES[name][-1])
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        part = ((u[:, :2] * s[:2]) @ v[:2]).abs().reshape(-1)
        expected = torch.zeros_like(part, dtype=torch.bool)
        expected[part.topk(counts(like)[name]).indices] = True
        assert torch.equal(found[name].reshape(-1), expected)
    assert decompose(init["a.weight"], 2).k == 2
    largest = init["norm"].abs().topk(counts(like)["norm"]).indices
    assert set(found["norm"].nonzero()[:, 0].tolist()) == set(largest.tolist())


def test_parts_of_large_tensors_go_on_where_the_one_before_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    like, init = some_mask(8, 0.3), weights(8, torch.float32)
    whole = arms.top(init, like.k, 0)
    monkeypatch.setattr(arms, "_CHUNK", 16)
    assert arms.top(init, like.k, 0) == whole
    assert arms.ulp_matched(like, init, 0).k == like.k


def test_what_cannot_be_is_refused() -> None:
    like = some_mask(9, 0.3)
    with pytest.raises(ValueError, match=f"k must be from 0 to the {N}"):
        arms.random(SHAPES, N + 1, 0)
    with pytest.raises(ValueError, match="NaN"):
        arms.top({"a": torch.tensor([1.0, torch.nan])}, 1, 0)
    with pytest.raises(MismatchError, match="norm"):
        arms.ulp_matched(like, {**weights(9), "norm": torch.ones(3)}, 0)
