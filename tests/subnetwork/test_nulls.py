"""Nulls: brute force, and runs whose truth is known because they were made up."""

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
    OverlapCounts,
    nulls,
    pair_counts,
    statistics,
    tensor_strata,
    ulp_strata,
)
from subnetray.subnetwork.bits import exponents
from tests.subnetwork.strategies import pairs


def _init(*shape: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: (0.02 * torch.randn(*shape, generator=generator)).bfloat16() for name in ("a", "b")}


def _run(init: dict[str, Tensor], scale: float, seed: int, rows: Tensor | None = None) -> Mask:
    """The visible mask of a random displacement; ``rows`` scales it by row: structure that runs may share."""
    generator = torch.Generator().manual_seed(seed)
    final = {}
    for name, tensor in init.items():
        step = scale * torch.randn(tensor.shape, generator=generator)
        final[name] = (tensor.float() + (step if rows is None else step * rows[:, None])).bfloat16()
    return Mask.between(init, final)


def _odds(counts: nulls.PairCounts) -> tuple[float, float]:
    table = OverlapCounts(counts.n, int(counts.k1[0]), int(counts.k2[0]), int(counts.k12[0, 0]))
    return statistics(table).odds_ratio, float(counts.odds_ratio[0, 0])


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    block=st.sampled_from([8, 24, 1 << 18]),
)
@settings(max_examples=30)
def test_counts_and_expectations_agree_with_brute_force(seed: int, rows: int, columns: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    init = {
        "a": torch.from_numpy(rng.choice([0.0, -0.0, 1.0, 3.0, 0.1, 1e-40], size=(6, 5)).astype(np.float32)).bfloat16(),
        "b": torch.from_numpy(rng.normal(size=23).astype(np.float32)),
        "c": torch.zeros(0),
    }

    def masks(count: int) -> list[Mask]:
        return [
            Mask.from_bools({name: torch.from_numpy(rng.random(t.shape) < 0.4) for name, t in init.items()})
            for _ in range(count)
        ]

    left, right = masks(rows), masks(columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nulls, "_BLOCK", block)
        counts = pair_counts(ulp_strata(init), left, right)
    for i, one in enumerate(left):
        for j, two in enumerate(right):
            expected = concordant = discordant = 0.0
            for name, tensor in init.items():
                x, y, exponent = one.flat(name), two.flat(name), exponents(tensor)
                for value in np.unique(exponent):
                    at = exponent == value
                    n, k1, k2, k12 = at.sum(), x[at].sum(), y[at].sum(), (x & y)[at].sum()
                    expected += k1 * k2 / n
                    concordant += k12 * (n - k1 - k2 + k12) / n
                    discordant += (k1 - k12) * (k2 - k12) / n
            assert (counts.n, counts.k1[i], counts.k2[j]) == (one.n, one.k, two.k)
            assert counts.k12[i, j] == (one & two).k
            assert counts.expected[i, j] == pytest.approx(expected)
            assert counts.excess[i, j] == pytest.approx((one & two).k - expected)
            if discordant:
                assert counts.odds_ratio[i, j] == pytest.approx(concordant / discordant)


@pytest.mark.parametrize(("scale_a", "scale_b"), [(2e-5, 2e-5), (1e-5, 6e-5)])
def test_independent_runs_overlap_above_the_uniform_null_but_not_above_the_stratified_one(
    scale_a: float, scale_b: float
) -> None:
    """The artefact of bf16: visibility follows |w|, which both runs share."""
    init = _init(600, 500)
    counts = pair_counts(ulp_strata(init), [_run(init, scale_a, seed=1)], [_run(init, scale_b, seed=2)])
    uniform, stratified = _odds(counts)
    assert uniform > 1.3
    assert stratified == pytest.approx(1.0, abs=0.03)


def test_shared_rows_stand_out_against_the_stratified_null() -> None:
    init = _init(600, 500)
    rows = torch.where(torch.rand(600, generator=torch.Generator().manual_seed(3)) < 0.3, 8.0, 1.0)
    counts = pair_counts(ulp_strata(init), [_run(init, 1e-5, 1, rows)], [_run(init, 1e-5, 2, rows)])
    assert _odds(counts)[1] > 2
    assert counts.excess[0, 0] > 0


def test_runs_of_two_inits_are_independent_given_both_exponents() -> None:
    one, two = _init(600, 500), _init(600, 500, seed=9)
    scaled = {name: (tensor.float() * one[name].float().abs().sqrt() * 10).bfloat16() for name, tensor in two.items()}
    counts = pair_counts(ulp_strata(one, scaled), [_run(one, 2e-5, 1)], [_run(scaled, 2e-5, 2)])
    uniform, stratified = _odds(counts)
    assert uniform > 1.1
    assert stratified == pytest.approx(1.0, abs=0.03)


@given(pair=pairs(), block=st.sampled_from([8, 1 << 18]))
def test_strata_are_the_pairs_of_exponents_that_occur(
    pair: tuple[dict[str, Tensor], dict[str, Tensor]], block: int
) -> None:
    one, two = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nulls, "_BLOCK", block)
        single, joint = ulp_strata(one), ulp_strata(one, two)
    for name in one:
        a, b = exponents(one[name]).astype(np.int64), exponents(two[name]).astype(np.int64)
        assert single.ids[name].tolist() == np.unique(a, return_inverse=True)[1].tolist()
        assert joint.ids[name].tolist() == np.unique(a * 10**4 + b, return_inverse=True)[1].tolist()
        assert joint.ids[name].dtype == np.uint8


def test_identical_masks_are_all_excess_and_one_stratum_is_the_tensor() -> None:
    init = _init(30, 20)
    mask = _run(init, 2e-5, seed=1)
    counts = pair_counts(ulp_strata(init), [mask], [mask])
    assert counts.k12[0, 0] == mask.k
    assert np.isinf(counts.odds_ratio[0, 0])
    by_tensor = pair_counts(tensor_strata(mask), [mask], [mask])
    assert by_tensor.expected[0, 0] == pytest.approx(
        sum(mask.flat(name).sum() ** 2 / tensor.numel() for name, tensor in init.items())
    )


def test_masks_of_other_tensors_are_refused() -> None:
    init = _init(4, 4)
    mask = _run(init, 1e-3, 1)
    with pytest.raises(MismatchError):
        pair_counts(ulp_strata(init), [mask], [Mask.from_bools({"a": torch.ones(4, 4, dtype=torch.bool)})])
    with pytest.raises(MismatchError):
        ulp_strata(init, {"a": init["a"]})
    with pytest.raises(MismatchError):
        ulp_strata(init, {name: tensor[:2] for name, tensor in init.items()})
    for rows in (3, 5):
        with pytest.raises(MismatchError, match="coordinates in the strata"):
            pair_counts(ulp_strata(_init(rows, 4)), [mask], [mask])


def test_a_list_against_itself_is_counted_like_two_lists() -> None:
    init = _init(40, 30)
    masks = [_run(init, 2e-5, seed) for seed in (1, 2, 3)]
    once, twice = pair_counts(ulp_strata(init), masks, masks), pair_counts(ulp_strata(init), masks, list(masks))
    for field in ("k1", "k2", "k12", "expected", "odds_ratio"):
        assert np.array_equal(getattr(once, field), getattr(twice, field))
    assert np.array_equal(once.k12, once.k12.T)
