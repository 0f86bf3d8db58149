"""How well scores find masks, against definitions computed one threshold, or one order, at a time."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork import Mask, MismatchError, Ranking

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
values = st.sampled_from([-math.inf, -2.0, -0.0, 0.0, 1e-30, 0.5, 1.0, 1.0 + 2**-7, math.inf])
ranked = st.lists(st.tuples(values, st.booleans()), min_size=1, max_size=40)


def ranking(pairs: list[tuple[float, bool]], dtype: torch.dtype, cut: int = 0) -> Ranking:
    """Of one tensor or, with ``cut``, of two."""
    parts = {"a": pairs[:cut], "b": pairs[cut:]}
    scores = {name: torch.tensor([score for score, _ in part], dtype=dtype) for name, part in parts.items()}
    bools = {name: torch.tensor([bool(hit) for _, hit in part], dtype=torch.bool) for name, part in parts.items()}
    return Ranking.of(scores, Mask.from_bools(bools))


def average_precision(pairs: list[tuple[float, bool]]) -> Fraction:
    """Σ (R_i − R_(i−1)) P_i over thresholds at every distinct score, in exact arithmetic."""
    positives = sum(hit for _, hit in pairs)
    area, before = Fraction(0), Fraction(0)
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        chosen = [hit for score, hit in pairs if score >= threshold]
        recall = Fraction(sum(chosen), positives)
        area += (recall - before) * Fraction(sum(chosen), len(chosen))
        before = recall
    return area


@given(ranked, st.sampled_from(DTYPES), st.integers(0, 5))
def test_average_precision_is_its_definition(pairs: list[tuple[float, bool]], dtype: torch.dtype, cut: int) -> None:
    rounded = [(float(torch.tensor(score, dtype=dtype)), hit) for score, hit in pairs]
    found = ranking(pairs, dtype, cut)
    positives = sum(hit for _, hit in pairs)
    assert (found.n, found.k) == (len(pairs), positives)
    if not positives:
        assert math.isnan(found.average_precision)
    else:
        assert found.average_precision == pytest.approx(float(average_precision(rounded)), rel=1e-12)
        assert found.density == positives / len(pairs)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0]), st.booleans()), min_size=1, max_size=6), st.data())
def test_what_is_found_is_the_mean_over_orders_of_equals(pairs: list[tuple[float, bool]], data: st.DataObject) -> None:
    budget = data.draw(st.integers(0, len(pairs)))
    orders = [
        order
        for order in itertools.permutations(pairs)
        if all(one[0] >= two[0] for one, two in itertools.pairwise(order))
    ]
    expected = sum(hit for order in orders for _, hit in order[:budget]) / len(orders)
    found = ranking(pairs, torch.float32)
    assert found.found(budget) == pytest.approx(expected)
    if budget and found.k:
        assert found.precision(budget) == pytest.approx(expected / budget)
        assert found.recall(budget) == pytest.approx(expected / found.k)
        assert found.enrichment(budget) == pytest.approx(expected / budget / found.density)


@given(ranked)
def test_narrow_and_wide_formats_count_alike(pairs: list[tuple[float, bool]]) -> None:
    rounded = [(float(torch.tensor(score, dtype=torch.bfloat16)), hit) for score, hit in pairs]
    one, two = ranking(pairs, torch.bfloat16), ranking(rounded, torch.float64)
    assert np.array_equal(one.totals, two.totals)
    assert np.array_equal(one.hits, two.hits)


def test_the_mask_itself_is_perfect_and_its_opposite_the_worst() -> None:
    pairs = [(float(hit), hit) for hit in (True, False, True, False)]
    best, worst = ranking(pairs, torch.bfloat16), ranking([(-score, hit) for score, hit in pairs], torch.bfloat16)
    assert (best.average_precision, best.precision(2), best.enrichment(2)) == (1.0, 1.0, 2.0)
    assert (worst.average_precision, worst.precision(2)) == (0.5, 0.0)


def test_a_score_that_knows_nothing_is_at_the_chance_level() -> None:
    generator = torch.Generator().manual_seed(0)
    bools = torch.rand(200_000, generator=generator) < 0.2
    for dtype in (torch.bfloat16, torch.float32):
        score = torch.rand(200_000, generator=generator).to(dtype)
        found = Ranking.of({"w": score}, Mask.from_bools({"w": bools}))
        assert found.average_precision == pytest.approx(found.density, abs=0.005)
        assert found.precision(found.k) == pytest.approx(found.density, abs=0.01)
    constant = Ranking.of({"w": torch.ones(200_000)}, Mask.from_bools({"w": bools}))
    assert constant.average_precision == constant.precision(17) == pytest.approx(constant.density)


def test_what_cannot_be_ranked_is_refused() -> None:
    mask = Mask.from_bools({"w": torch.tensor([True, False])})
    for dtype in DTYPES:
        with pytest.raises(ValueError, match="NaN"):
            Ranking.of({"w": torch.tensor([math.nan, 1.0], dtype=dtype)}, mask)
    with pytest.raises(MismatchError, match="'v'"):
        Ranking.of({"v": torch.ones(2)}, mask)
    with pytest.raises(MismatchError, match="shape"):
        Ranking.of({"w": torch.ones(3)}, mask)
    for budget in (-1, 3):
        with pytest.raises(ValueError, match="from 0 to the 2"):
            Ranking.of({"w": torch.ones(2)}, mask).found(budget)
