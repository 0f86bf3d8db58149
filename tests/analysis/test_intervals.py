"""Intervals and p values against tables, closed forms and formulas."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from subnetray.analysis import intervals
from subnetray.analysis.intervals import jackknife, pair_interval, t_interval

values = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("df", "quantile"), [(1, 12.70620), (2, 4.30265), (3, 3.18245), (4, 2.77645), (10, 2.22814), (30, 2.04227)]
)
def test_half_widths_have_the_quantiles_of_student_t_of_the_tables(df: int, quantile: float) -> None:
    numbers = [float(i) for i in range(df + 1)]
    half = quantile * statistics.stdev(numbers) / math.sqrt(len(numbers))
    assert t_interval(numbers).half_width == pytest.approx(half, rel=2e-6)


@given(st.floats(-20, 20), st.floats(0.1, 9), st.sampled_from([0.9, 0.95]))
@example(limit=5.960464477539063e-08, apart=5.0, level=0.9)
def test_p_values_of_two_and_of_three_units_have_closed_forms(limit: float, apart: float, level: float) -> None:
    two, three = t_interval([-apart, apart], level), t_interval([-apart, 0.0, apart], level)
    t = abs(limit) / apart
    assert two.p_value(limit) == pytest.approx(1 - 2 / math.pi * math.atan(t), rel=1e-9)
    t *= math.sqrt(3)
    assert three.p_value(limit) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9, abs=1e-15)
    # A limit at an end of the interval has the p of its level.
    assert three.p_value(three.high) == pytest.approx(1 - level, rel=1e-9)


def test_the_interval_of_three_values_by_hand() -> None:
    estimate = t_interval([1.0, 2.0, 3.0])
    half = 4.302652729911275 / math.sqrt(3)
    assert (estimate.mean, estimate.n) == (2.0, 3)
    assert estimate.low == pytest.approx(2 - half)
    assert estimate.high == pytest.approx(2 + half)


@given(values, st.floats(-5, 5), st.floats(0.1, 10))
def test_the_interval_moves_and_scales_with_the_values(numbers: list[float], shift: float, scale: float) -> None:
    plain, moved = t_interval(numbers), t_interval([scale * number + shift for number in numbers])
    assert moved.mean == pytest.approx(scale * plain.mean + shift, abs=1e-9)
    assert moved.half_width == pytest.approx(scale * plain.half_width, abs=1e-7)


@given(values)
def test_the_interval_is_that_of_the_textbook(numbers: list[float]) -> None:
    half = stats.t.ppf(0.95, len(numbers) - 1) * statistics.stdev(numbers) / math.sqrt(len(numbers))
    assert t_interval(numbers, level=0.9).half_width == pytest.approx(half, abs=1e-9)


def test_what_was_not_measured_does_not_count_and_one_value_has_no_interval() -> None:
    assert t_interval([1.0, math.nan, 3.0]) == t_interval([1.0, 3.0])
    single = t_interval([1.0])
    assert (single.mean, single.n, math.isnan(single.low)) == (1.0, 1, True)
    assert math.isnan(t_interval([]).mean)


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    draw = random.Random(0)
    covers = [
        estimate.low < 0 < estimate.high
        for estimate in (t_interval([draw.gauss(0, 1) for _ in range(3)]) for _ in range(4000))
    ]
    assert sum(covers) / len(covers) == pytest.approx(0.95, abs=0.012)


@given(values)
def test_the_jackknife_of_a_mean_is_the_t_interval(numbers: list[float]) -> None:
    units = range(len(numbers))
    by_jackknife = jackknife(units, lambda kept: statistics.fmean(numbers[unit] for unit in units if unit in kept))
    plain = t_interval(numbers)
    assert by_jackknife.mean == pytest.approx(plain.mean, abs=1e-9)
    assert by_jackknife.half_width == pytest.approx(plain.half_width, abs=1e-6)


@given(values)
def test_pairs_within_one_seed_are_independent_values(numbers: list[float]) -> None:
    paired = pair_interval(numbers, [(seed, seed) for seed in range(len(numbers))])
    assert paired.half_width == pytest.approx(t_interval(numbers).half_width, abs=1e-6)


def test_three_pairs_of_three_seeds_by_hand() -> None:
    # Leaving a seed out leaves the one pair without it: the values themselves.
    estimate = pair_interval([1.0, 2.0, 4.0], [(0, 1), (0, 2), (1, 2)])
    deviations = sum((value - 7 / 3) ** 2 for value in (1.0, 2.0, 4.0))
    assert estimate.mean == pytest.approx(7 / 3)
    assert estimate.half_width == pytest.approx(4.302652729911275 * math.sqrt(2 / 3 * deviations))
    assert estimate.n == 3


def test_the_jackknife_over_seeds_is_wider_than_the_error_of_pairs_taken_as_independent() -> None:
    # Values a_i + a_j: pairs of a seed rise and fall together.
    seeds = [0.0, 1.0, 3.0, -2.0, 5.0]
    pairs = list(itertools.combinations(range(5), 2))
    shared = [seeds[a] + seeds[b] for a, b in pairs]
    clustered = pair_interval(shared, pairs)
    # The mean over pairs of a_i + a_j is twice the mean of a, so its interval is twice that of the seeds.
    assert clustered.half_width == pytest.approx(2 * t_interval(seeds).half_width)
    assert clustered.half_width > 1.5 * t_interval(shared).half_width


def test_two_seeds_make_one_pair_and_no_interval() -> None:
    estimate = pair_interval([0.5], [(0, 1)])
    assert (estimate.mean, estimate.n) == (0.5, 2)
    assert math.isnan(estimate.low)
    assert math.isnan(jackknife([], lambda kept: math.nan).mean)


def test_an_estimate_maps_to_another_scale() -> None:
    mapped = intervals.Estimate(0.0, -1.0, 1.0, 3).map(math.exp)
    assert (mapped.mean, mapped.low, mapped.high) == (1.0, math.exp(-1), math.exp(1))
