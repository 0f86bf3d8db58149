"""Numbers as text."""

from __future__ import annotations

import math

import pytest

from subnetray.analysis.intervals import NOTHING, Estimate
from subnetray.reporting import format as fmt


def test_shares_and_differences() -> None:
    estimate = Estimate(0.60123, 0.58, 0.62246, 3)
    assert fmt.percent(estimate) == "60.1 ± 2.1"
    assert fmt.points(estimate) == "+60.1 ± 2.1"
    assert fmt.points(Estimate(-0.05, -0.06, -0.04, 3)) == "−5.0 ± 1.0"
    assert fmt.percent(Estimate(0.5, math.nan, math.nan, 1)) == "50.0"
    assert fmt.number(Estimate(0.384, 0.364, 0.404, 3)) == "0.38 ± 0.02"


@pytest.mark.parametrize("write", [fmt.percent, fmt.points, fmt.number, fmt.ratio])
def test_what_was_not_measured_is_a_dash(write: object) -> None:
    assert callable(write)
    assert write(NOTHING) == "–"


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0"), (-0.04, "0.0"), (1.25, "+1.2"), (-1.35, "−1.4"), (0.06, "+0.1")]
)
def test_zero_has_no_sign(value: float, text: str) -> None:
    assert fmt.signed(value, 1) == text


def test_ratios_show_three_digits() -> None:
    assert fmt.ratio(Estimate(4.567, 3.1, 12.34, 3)) == "4.57 [3.10, 12.3]"
    assert fmt.ratio(Estimate(16623.4, 1234, 20000, 3)) == "16,623 [1,234, 20,000]"


def test_listings() -> None:
    assert [fmt.listing(words) for words in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
