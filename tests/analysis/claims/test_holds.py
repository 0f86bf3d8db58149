"""Where claims hold: the verdict, the estimate and the limits beside it say the same, in the same unit."""

from __future__ import annotations

import math

import pytest

from subnetray.analysis.intervals import Estimate
from subnetray.analysis.verdicts import above, agreed, between, every, exceeds, within
from tests.analysis.judged import judge, shifted


@pytest.mark.parametrize("method", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_a_supported_claim_has_its_interval_where_it_holds(method: float) -> None:
    """Estimates of several cases are the worst of them or their mean, so that they hold where all do."""
    found = judge(shifted(method={"sft_gold": method, "dpo_off_policy": method}, dtype={"fp32": 20.0}), clipped=0.5)
    tested = [each for each in found.values() if each.verdict not in ("not tested", "inconclusive")]
    assert len(tested) > 10
    for each in tested:
        low, high = each.holds
        assert low < high
        assert math.isfinite(low) or math.isfinite(high)
        inside = low <= each.estimate.low and each.estimate.high <= high
        if each.verdict == "supported":
            assert inside, each.key
        else:
            assert not inside, each.key
    entry = found["limited_impact_of_clip"].to_dict()
    assert entry["holds_above"] == -entry["holds_below"]
    assert found["seeds_overlap_beyond_uniform"].to_dict()["holds_below"] is None


def test_what_a_judgement_asks_does_not_depend_on_what_it_finds() -> None:
    for mean in (-9.0, -2.0, 0.0, 2.0, 9.0):
        estimate = Estimate(mean, mean - 0.5, mean + 0.5, 3)
        assert above(estimate, 1).holds == exceeds(estimate, 1).holds == (1, math.inf)
        assert within(estimate, 3).holds == (-3, 3)
        assert between(estimate, 1, 4).holds == (1, 4)
        both = [above(estimate, 1), above(Estimate(5.0, 4.0, 6.0, 3), 1)]
        assert every(both).holds == agreed(both).holds == (1, math.inf)
