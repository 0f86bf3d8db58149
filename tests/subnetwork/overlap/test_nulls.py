"""Nulls: brute force, and runs whose truth is known because they were made up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import (
    Mask,
    MismatchError,
    OverlapCounts,
    PairCounts,
    Strata,
    pair_counts,
    statistics,
    tensor_strata,
    ulp_strata,
)
from subnetray.subnetwork.bits import exponents
from subnetray.subnetwork.overlap import nulls


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


def _count(strata: Strata, rows: Sequence[Mask], columns: Sequence[Mask]) -> PairCounts:
    return pair_counts([strata.arrange(mask) for mask in rows], [strata.arrange(mask) for mask in columns])


def _odds(counts: PairCounts) -> tuple[float, float]:
    table = OverlapCounts(counts.n, int(counts.k1[0]), int(counts.k2[0]), int(counts.k12[0, 0]))
    return statistics(table).odds_ratio, float(counts.stratified.odds_ratio[0, 0])


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    same=st.booleans(),
    block=st.sampled_from([1, 1 << 16]),
    tables=st.sampled_from([1, 1 << 22]),
)
@settings(max_examples=20)
def test_counts_and_nulls_agree_with_brute_force(
    seed: int, rows: int, columns: int, same: bool, block: int, tables: int
) -> None:
    rng = np.random.default_rng(seed)
    init = {
        "a": torch.from_numpy(rng.choice([0.0, -0.0, 1.0, 3.0, 0.1, 1e-40], size=(6, 5)).astype(np.float32)).bfloat16(),
        "b": torch.from_numpy(rng.normal(size=23).astype(np.float32)),
        "c": torch.zeros(0),
        "d": torch.ones(3, 0),
        "e": torch.from_numpy(rng.normal(size=900).astype(np.float32)),
    }
    densities = {name: rng.random() for name in init}
    strata = ulp_strata(init)

    def masks(count: int) -> list[Mask]:
        return [
            Mask.from_bools({name: torch.from_numpy(rng.random(t.shape) < densities[name]) for name, t in init.items()})
            for _ in range(count)
        ]

    left = masks(rows)
    right = left if same else masks(columns)
    arranged = [strata.arrange(mask) for mask in left]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nulls, "_BLOCK", block)
        patch.setattr(nulls, "_TABLES", tables)
        counts = pair_counts(arranged, arranged if same else [strata.arrange(mask) for mask in right])
    for i, one in enumerate(left):
        for j, two in enumerate(right):
            assert (counts.n, counts.k1[i], counts.k2[j]) == (one.n, one.k, two.k)
            assert counts.k12[i, j] == (one & two).k
            bits = [np.concatenate([mask.flat(name) for name in init]) for mask in (one, two)]
            tensor = np.concatenate([np.full(t.numel(), index) for index, t in enumerate(init.values())])
            exponent = np.concatenate([exponents(t).astype(np.int64) for t in init.values()])
            parts = {"uniform": 0 * tensor, "tensor": tensor, "stratified": 1000 * tensor + exponent}
            for name, part in parts.items():
                null = getattr(counts, name)
                expected, odds_ratio = _brute_force(part, *bits)
                assert null.expected[i, j] == pytest.approx(expected)
                assert null.excess[i, j] == pytest.approx((one & two).k - expected, abs=1e-6)
                assert null.odds_ratio[i, j] == pytest.approx(odds_ratio, nan_ok=True)


def _brute_force(
    part: npt.NDArray[np.int64], x: npt.NDArray[np.bool_], y: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Expectation and Mantel-Haenszel odds ratio over the parts of a partition, in exact fractions."""
    expected = concordant = discordant = Fraction(0)
    for value in np.unique(part):
        at = part == value
        n, k1, k2, k12 = (int(bits[at].sum()) for bits in (np.ones_like(x), x, y, x & y))
        expected += Fraction(k1 * k2, n)
        concordant += Fraction(k12 * (n - k1 - k2 + k12), n)
        discordant += Fraction((k1 - k12) * (k2 - k12), n)
    if not discordant:
        return float(expected), math.inf if concordant else math.nan
    return float(expected), float(concordant / discordant)


@pytest.mark.parametrize(("scale_a", "scale_b"), [(2e-5, 2e-5), (1e-5, 6e-5)])
def test_independent_runs_overlap_above_the_uniform_null_but_not_above_the_stratified_one(
    scale_a: float, scale_b: float
) -> None:
    """The artefact of bf16: visibility follows |w|, which both runs share."""
    init = _init(600, 500)
    counts = _count(ulp_strata(init), [_run(init, scale_a, seed=1)], [_run(init, scale_b, seed=2)])
    uniform, stratified = _odds(counts)
    assert uniform > 1.3
    assert stratified == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [3e-6, 1e-5, 1e-4])
def test_noise_on_an_init_in_a_wider_format_overlaps_no_more_than_strata_by_its_boundaries_expect(
    stored: torch.dtype, scale: float
) -> None:
    """All runs of an init share what is rounded off it, which decides which weights a small update makes visible."""
    generator = torch.Generator().manual_seed(0)
    init = {"a": (0.02 * torch.randn(600, 800, generator=generator)).to(stored)}

    def run() -> Mask:
        noisy = init["a"].float() + scale * torch.randn(600, 800, generator=generator)
        return Mask.from_bools({"a": noisy.bfloat16() != init["a"].bfloat16()})

    one, two = run(), run()
    _, stratified = _odds(_count(ulp_strata(init, exported=torch.bfloat16), [one], [two]))
    assert stratified == pytest.approx(1.0, abs=0.03)
    _, by_exponent = _odds(_count(ulp_strata({"a": init["a"].bfloat16()}), [one], [two]))
    if stored == torch.bfloat16:
        assert by_exponent == stratified
    elif scale == 3e-6:
        assert by_exponent > 2.5


def test_strata_by_boundaries_leave_shared_rows_to_be_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    init = {"a": 0.02 * torch.randn(600, 800, generator=generator)}
    rows = torch.where(torch.rand(600, 1, generator=generator) < 0.3, 8.0, 1.0)

    def run() -> Mask:
        noisy = init["a"] + 1e-5 * rows * torch.randn(600, 800, generator=generator)
        return Mask.from_bools({"a": noisy.bfloat16() != init["a"].bfloat16()})

    _, stratified = _odds(_count(ulp_strata(init, exported=torch.bfloat16), [run()], [run()]))
    assert stratified > 2


def test_densities_of_tensors_are_explained_per_tensor() -> None:
    init = {name: torch.ones(400, 500) for name in "abc"}
    generator = torch.Generator().manual_seed(0)
    densities = {"a": 0.05, "b": 0.4, "c": 0.8}
    one, two = (
        Mask.from_bools({name: torch.rand(400, 500, generator=generator) < p for name, p in densities.items()})
        for _ in range(2)
    )
    counts = _count(ulp_strata(init), [one], [two])
    assert counts.uniform.excess[0, 0] > 0.2 * one.k
    assert counts.uniform.odds_ratio[0, 0] > 2
    assert abs(counts.tensor.excess[0, 0]) < 0.003 * one.k
    assert counts.tensor.odds_ratio[0, 0] == pytest.approx(1.0, abs=0.03)


def test_shared_rows_stand_out_against_the_stratified_null() -> None:
    init = _init(600, 500)
    rows = torch.where(torch.rand(600, generator=torch.Generator().manual_seed(3)) < 0.3, 8.0, 1.0)
    counts = _count(ulp_strata(init), [_run(init, 1e-5, 1, rows)], [_run(init, 1e-5, 2, rows)])
    assert _odds(counts)[1] > 2
    assert counts.stratified.excess[0, 0] > 0


def test_runs_of_two_inits_are_independent_given_both_exponents() -> None:
    one, two = _init(600, 500), _init(600, 500, seed=9)
    scaled = {name: (tensor.float() * one[name].float().abs().sqrt() * 10).bfloat16() for name, tensor in two.items()}
    counts = _count(ulp_strata(one, scaled), [_run(one, 2e-5, 1)], [_run(scaled, 2e-5, 2)])
    uniform, stratified = _odds(counts)
    assert uniform > 1.1
    assert stratified == pytest.approx(1.0, abs=0.03)


def test_identical_masks_are_all_excess_and_one_stratum_is_the_tensor() -> None:
    init = _init(30, 20)
    mask = _run(init, 2e-5, seed=1)
    counts = _count(ulp_strata(init), [mask], [mask])
    assert counts.k12[0, 0] == mask.k
    assert np.isinf(counts.stratified.odds_ratio[0, 0])
    by_tensor = _count(tensor_strata(mask), [mask], [mask])
    assert by_tensor.stratified.expected[0, 0] == pytest.approx(
        sum(mask.flat(name).sum() ** 2 / tensor.numel() for name, tensor in init.items())
    )


def test_masks_arranged_by_other_strata_are_refused() -> None:
    init = _init(4, 4)
    mask = _run(init, 1e-3, 1)
    with pytest.raises(MismatchError, match="one and the same strata"):
        pair_counts([ulp_strata(init).arrange(mask)], [ulp_strata(init).arrange(mask)])


def test_a_list_against_itself_is_counted_like_two_lists() -> None:
    init = _init(40, 30)
    masks = [_run(init, 2e-5, seed) for seed in (1, 2, 3)]
    arranged = [ulp_strata(init).arrange(masks[0])]
    arranged += [arranged[0].strata.arrange(mask) for mask in masks[1:]]
    once, twice = pair_counts(arranged, arranged), pair_counts(arranged, list(arranged))
    for field in ("k1", "k2", "k12"):
        assert np.array_equal(getattr(once, field), getattr(twice, field))
    for null in ("uniform", "tensor", "stratified"):
        for field in ("expected", "excess", "odds_ratio"):
            assert np.array_equal(getattr(getattr(once, null), field), getattr(getattr(twice, null), field))
    assert np.array_equal(once.k12, once.k12.T)
