"""A verdict follows from the whole interval, and from all cases of a claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.analysis.intervals import NOTHING, Estimate, t_interval
from subnetray.analysis.verdicts import above, agreed, every, exceeds, within

estimates = st.tuples(st.floats(-1, 1), st.floats(0, 1)).map(
    lambda pair: Estimate(pair[0], pair[0] - pair[1], pair[0] + pair[1], 3)
)


@given(estimates, st.floats(-1, 1))
def test_above_is_decided_by_the_whole_interval(estimate: Estimate, margin: float) -> None:
    verdict = above(estimate, margin)
    assert (verdict == "supported") == (estimate.low > margin)
    assert (verdict == "refuted") == (estimate.high < margin)


@given(estimates, st.floats(0, 1))
def test_a_difference_is_refuted_by_the_other_direction_alone(estimate: Estimate, margin: float) -> None:
    verdict = exceeds(estimate, margin)
    assert (verdict == "supported") == (estimate.low > margin)
    assert (verdict == "refuted") == (estimate.high < 0)
    assert (verdict == "smaller than the margin") == (0 <= estimate.high < margin)


@given(estimates, st.floats(0.01, 1))
def test_within_is_supported_inside_refuted_outside_and_inconclusive_across(estimate: Estimate, margin: float) -> None:
    inside = [-margin < end < margin for end in (estimate.low, estimate.high)]
    apart = estimate.low > margin or estimate.high < -margin
    expected = "supported" if all(inside) else "refuted" if apart else "inconclusive"
    assert within(estimate, margin) == expected


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.04, 0.04, "supported"),
        (-0.06, 0.02, "inconclusive"),
        (-0.02, 0.06, "inconclusive"),
        (-0.2, 0.2, "inconclusive"),
        (0.06, 0.08, "refuted"),
        (-0.08, -0.06, "refuted"),
    ],
)
def test_an_interval_within_or_beyond_five_points(low: float, high: float, verdict: str) -> None:
    assert within(Estimate((low + high) / 2, low, high, 3), 0.05) == verdict


def test_an_equivalence_test_is_two_one_sided_tests() -> None:
    # t of three values against each margin, one-sided at 5 %: the quantile is 2.92 with 2 degrees of freedom.
    values = np.array([0.01, 0.02, 0.045])
    error = values.std(ddof=1) / math.sqrt(3)
    for margin in np.linspace(0.02, 0.1, 30):
        both = (values.mean() + margin) / error > 2.91999 and (margin - values.mean()) / error > 2.91999
        assert (within(t_interval(values, 0.9), margin) == "supported") == both


def test_no_difference_found_is_not_no_difference() -> None:
    assert within(Estimate(0.0, -0.2, 0.2, 3), 0.05) == "inconclusive"
    assert above(Estimate(0.2, math.nan, math.nan, 1), 0.0) == "inconclusive"
    assert within(Estimate(0.0, math.nan, math.nan, 1), 0.05) == "inconclusive"
    assert above(NOTHING, 0.0) == within(NOTHING, 0.05) == "not tested"


def test_one_counterexample_refutes_what_must_hold_every_time_and_disagreement_decides_nothing() -> None:
    assert every(["supported", "refuted", "inconclusive"]) == "refuted"
    assert every(["supported", "inconclusive", "not tested"]) == "inconclusive"
    assert every(["supported", "smaller than the margin", "inconclusive"]) == "smaller than the margin"
    assert every(["refuted", "smaller than the margin"]) == "refuted"
    assert every(["supported", "not tested"]) == "supported"
    assert agreed(["supported", "refuted"]) == "inconclusive"
    assert agreed(["refuted", "refuted", "not tested"]) == "refuted"
    assert every([]) == agreed(["not tested"]) == "not tested"
