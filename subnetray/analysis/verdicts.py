"""What a claim is, and when it is supported.

- *supported*: an estimate's whole interval lies where the claim says; *refuted*: none of it does;
- *smaller than the margin*: a difference is not as large as the claim says, but nothing speaks for the other direction;
- *inconclusive*: the interval has both, or there are too few seeds for an interval;
- *not tested*: the grid has no such factor, or its runs have no result.

That a difference is not significant never supports a claim of no effect: those take an equivalence test (two one-sided
tests at 5 %, that is a 90 % interval inside of the margin).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from subnetray.analysis.intervals import NOTHING, Estimate

Verdict = Literal["supported", "refuted", "smaller than the margin", "inconclusive", "not tested"]


@dataclass(frozen=True)
class Claim:
    """One claim and its verdict; ``estimate`` is in ``unit`` and its interval of ``level``."""

    key: str
    statement: str
    source: str
    test: str
    verdict: Verdict
    estimate: Estimate = NOTHING
    unit: str = "percentage points"
    level: float = 0.95
    note: str = ""
    runs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The entry of ``claims.json``; numbers that do not exist are null."""
        e = self.estimate
        return {
            "claim": self.key,
            "statement": self.statement,
            "source": self.source,
            "test": self.test,
            "estimate": None if math.isnan(e.mean) else e.mean,
            "interval": None if math.isnan(e.low) else [e.low, e.high],
            "level": self.level,
            "unit": self.unit,
            "seeds": e.n,
            "verdict": self.verdict,
            "note": self.note,
            "runs": list(self.runs),
        }


def above(estimate: Estimate, limit: float) -> Verdict:
    """Judge whether the truth is above ``limit``."""
    if math.isnan(estimate.mean):
        return "not tested"
    if estimate.low > limit:
        return "supported"
    return "refuted" if estimate.high < limit else "inconclusive"


def exceeds(difference: Estimate, margin: float) -> Verdict:
    """Judge whether a difference exceeds ``margin`` >= 0: one below 0 refutes that, and a smaller one does not."""
    found = above(difference, margin)
    return "smaller than the margin" if found == "refuted" and difference.high >= 0 else found


def between(estimate: Estimate, low: float, high: float) -> Verdict:
    """Judge whether the truth is between ``low`` and ``high``."""
    if math.isnan(estimate.mean):
        return "not tested"
    if low < estimate.low and estimate.high < high:
        return "supported"
    return "refuted" if estimate.high < low or estimate.low > high else "inconclusive"


def within(estimate: Estimate, margin: float) -> Verdict:
    """Judge whether the truth is inside of ± ``margin``; with a 90 % interval, two one-sided tests at 5 %."""
    return between(estimate, -margin, margin)


def every(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a claim that must hold in every case: one counterexample refutes it."""
    found = {verdict for verdict in verdicts if verdict != "not tested"}
    order: tuple[Verdict, ...] = ("refuted", "smaller than the margin", "inconclusive", "supported")
    return next((verdict for verdict in order if verdict in found), "not tested")


def agreed(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that all cases share; inconclusive if they disagree."""
    found = {verdict for verdict in verdicts if verdict != "not tested"}
    if not found:
        return "not tested"
    return found.pop() if len(found) == 1 else "inconclusive"


def untested(claim: Claim, reason: str) -> Claim:
    """The claim, and why it was not tested."""
    return dataclasses.replace(claim, note=reason)


def decided(claim: Claim, verdict: Verdict, estimate: Estimate, note: str, runs: tuple[str, ...]) -> Claim:
    """The claim with what was found."""
    return dataclasses.replace(claim, verdict=verdict, estimate=estimate, note=note, runs=runs)


def in_points(estimate: Estimate) -> Estimate:
    """A share in percent, or a difference of shares in percentage points."""
    return estimate.map(lambda share: 100 * share)


def in_words(estimate: Estimate) -> str:
    """As in ``+6.8 ± 1.7 points``."""
    interval = "" if math.isnan(estimate.low) else f" ± {estimate.half_width:.1f}"
    return f"{estimate.mean:+.1f}{interval} points".replace("-", "−")
