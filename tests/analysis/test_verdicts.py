"""A verdict follows from the whole interval, and from all cases of a claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.analysis.intervals import NOTHING, Estimate, t_interval
from subnetray.analysis.verdicts import (
    ALPHA,
    Claim,
    Judgement,
    Verdict,
    above,
    agreed,
    below,
    every,
    exceeds,
    together,
    within,
)

estimates = st.tuples(st.floats(-1, 1), st.floats(0, 1)).map(
    lambda pair: Estimate(pair[0], pair[0] - pair[1], pair[0] + pair[1], 3)
)


@given(estimates, st.floats(-1, 1))
def test_above_is_decided_by_the_whole_interval(estimate: Estimate, margin: float) -> None:
    verdict = above(estimate, margin).verdict
    assert (verdict == "supported") == (estimate.low > margin)
    assert (verdict == "refuted") == (estimate.high < margin)


@given(estimates, st.floats(0, 1))
def test_below_is_above_turned_over(estimate: Estimate, margin: float) -> None:
    turned = Estimate(-estimate.mean, -estimate.high, -estimate.low, estimate.n, estimate.level)
    found, other = below(estimate, margin), above(turned, -margin)
    assert (found.verdict, found.p, found.holds) == (other.verdict, other.p, (-math.inf, margin))


@given(estimates, st.floats(0, 1))
def test_a_difference_is_refuted_by_the_other_direction_alone(estimate: Estimate, margin: float) -> None:
    verdict = exceeds(estimate, margin).verdict
    assert (verdict == "supported") == (estimate.low > margin)
    assert (verdict == "refuted") == (estimate.high < 0)
    assert (verdict == "smaller than the margin") == (0 <= estimate.high < margin)


@given(estimates, st.floats(0.01, 1))
def test_within_is_supported_inside_refuted_outside_and_inconclusive_across(estimate: Estimate, margin: float) -> None:
    inside = [-margin < end < margin for end in (estimate.low, estimate.high)]
    apart = estimate.low > margin or estimate.high < -margin
    expected = "supported" if all(inside) else "refuted" if apart else "inconclusive"
    assert within(estimate, margin).verdict == expected


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
    assert within(Estimate((low + high) / 2, low, high, 3), 0.05).verdict == verdict


def test_an_equivalence_test_is_two_one_sided_tests() -> None:
    # t of three values against each margin, one-sided at 5 %: the quantile is 2.92 with 2 degrees of freedom.
    values = np.array([0.01, 0.02, 0.045])
    error = values.std(ddof=1) / math.sqrt(3)
    for margin in np.linspace(0.02, 0.1, 30):
        both = (values.mean() + margin) / error > 2.91999 and (margin - values.mean()) / error > 2.91999
        assert (within(t_interval(values, 0.9), margin).verdict == "supported") == both


def test_no_difference_found_is_not_no_difference() -> None:
    assert within(Estimate(0.0, -0.2, 0.2, 3), 0.05).verdict == "inconclusive"
    assert above(Estimate(0.2, math.nan, math.nan, 1), 0.0).verdict == "inconclusive"
    assert within(Estimate(0.0, math.nan, math.nan, 1), 0.05).verdict == "inconclusive"
    assert above(NOTHING, 0.0).verdict == within(NOTHING, 0.05).verdict == "not tested"


def _of(*verdicts: Verdict) -> list[Judgement]:
    return [Judgement(verdict, 0.01) for verdict in verdicts]


def test_one_counterexample_refutes_what_must_hold_every_time_and_disagreement_decides_nothing() -> None:
    assert every(_of("supported", "refuted", "inconclusive")).verdict == "refuted"
    assert every(_of("supported", "inconclusive", "not tested")).verdict == "inconclusive"
    assert every(_of("supported", "smaller than the margin", "inconclusive")).verdict == "smaller than the margin"
    assert every(_of("refuted", "smaller than the margin")).verdict == "refuted"
    assert every(_of("supported", "not tested")).verdict == "supported"
    assert agreed(_of("supported", "refuted")).verdict == "inconclusive"
    assert agreed(_of("refuted", "refuted", "not tested")).verdict == "refuted"
    assert every([]).verdict == agreed(_of("not tested")).verdict == "not tested"


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(-1, 1), st.sampled_from([0.9, 0.95]))
def test_an_interval_decides_exactly_where_p_is_below_five_percent(
    values: list[float], limit: float, level: float
) -> None:
    estimate = t_interval(values, level)
    found = above(estimate, limit)
    if min(abs(found.p - ALPHA), abs(estimate.low - limit), abs(estimate.high - limit)) > 1e-9:
        assert (found.verdict != "inconclusive") == (found.p < ALPHA)
    inside = within(estimate, abs(limit))
    ends = [abs(end - at) for end in (estimate.low, estimate.high) for at in (limit, -limit)]
    if min(abs(inside.p - ALPHA), *ends) > 1e-9:
        assert (inside.verdict != "inconclusive") == (inside.p < ALPHA)


def test_p_of_a_limit_is_that_of_the_t_test() -> None:
    # Mean 2 of 1, 2, 3: the standard error is 1/√3, so t = 2√3 = 3.4641 with 2 degrees of freedom; p = 0.0742.
    assert t_interval([1.0, 2.0, 3.0]).p_value(0.0) == pytest.approx(0.07418, abs=1e-5)
    assert Estimate(0.5, math.nan, math.nan, 1).p_value(0.0) == 1


def test_a_claim_of_several_cases_is_as_sure_as_the_least_sure_and_counterexamples_are_counted() -> None:
    cases = [Judgement("supported", 0.001), Judgement("supported", 0.04)]
    assert every(cases) == agreed(cases) == Judgement("supported", 0.04)
    cases.append(Judgement("refuted", 0.01))
    assert every(cases) == Judgement("refuted", 0.03)
    assert agreed(cases) == Judgement("inconclusive", 1.0)


def test_holm_by_hand() -> None:
    levels = {"a": 0.01, "b": 0.04, "c": 0.02, "d": 0.03}
    made = [Claim(key, "", "", "", "supported", p=p) for key, p in levels.items()]
    untested = Claim("e", "", "", "", "not tested")
    found = {claim.key: claim for claim in together([*made, untested])}
    # 4 × 0.01; then 3 × 0.02, 2 × 0.03 and 1 × 0.04, none of which may be less than one before it.
    assert [found[key].p_holm for key in "acdb"] == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert [found[key].verdict_holm for key in "abcd"] == ["supported", *3 * ["inconclusive"]]
    assert found["e"] == untested


def test_what_is_detectable_is_told_from_the_limit_in_four_of_five_samples() -> None:
    # The difference between the means of samples and the limit is put in units of each sample's own error; over many
    # samples of a truth that is as far away as the typical sample could detect, about 80 % decide.
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 1, (4000, 5))
    typical = float(np.median([t_interval(sample).detectable for sample in samples]))
    decided = np.mean([above(t_interval(sample + typical), 0.0).verdict == "supported" for sample in samples])
    assert 0.72 < decided < 0.88
    assert math.isnan(Estimate(0.5, math.nan, math.nan, 1).detectable)
