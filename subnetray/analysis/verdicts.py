"""What a claim is, and when it is supported.

- *supported*: an estimate's whole interval lies where the claim says; *refuted*: none of it does;
- *smaller than the margin*: a difference is not as large as the claim says, but nothing speaks for the other direction;
- *inconclusive*: the interval has both, or there are too few seeds for an interval;
- *not tested*: the grid has no such factor, or its runs have no result.

That a difference is not significant never supports a claim of no effect: those take an equivalence test (two one-sided
tests at 5 %, that is a 90 % interval inside of the margin). Each verdict stands by itself; what is left of it when all
that were tested count is given beside (S. Holm, Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from subnetray.analysis.intervals import NOTHING, Estimate

Verdict = Literal["supported", "refuted", "smaller than the margin", "inconclusive", "not tested"]

ALPHA = 0.05

# Between which two values an estimate is as a claim says; infinite where it is open.
Range = tuple[float, float]
_ANY: Range = (-math.inf, math.inf)


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the smallest level of a test, ``p``, at which it would have been decided; 1 of what never is.

    ``holds``: where the claim says that the truth is. It is what was asked, not what was found.
    """

    verdict: Verdict
    p: float = 1.0
    holds: Range = field(default=_ANY, compare=False)


@dataclass(frozen=True)
class Claim:
    """One claim and its verdict; ``estimate``, its interval of ``level`` and where the claim ``holds`` are in ``unit``.

    ``grid``: one of the project's that has what the claim is about, for those who have run another.
    ``p`` is that of the verdict by itself; ``p_holm`` and ``verdict_holm`` count all claims of a report that were
    tested (see :func:`together`).
    """

    key: str
    statement: str
    source: str
    test: str
    verdict: Verdict
    estimate: Estimate = NOTHING
    unit: str = "percentage points"
    level: float = 0.95
    grid: str = "origins"
    note: str = ""
    runs: tuple[str, ...] = ()
    holds: Range = _ANY
    p: float = math.nan
    p_holm: float = math.nan
    verdict_holm: Verdict = "not tested"

    def to_dict(self) -> dict[str, Any]:
        """The entry of ``claims.json``; numbers that do not exist are null."""
        e = self.estimate
        return {
            "claim": self.key,
            "statement": self.statement,
            "source": self.source,
            "test": self.test,
            "estimate": _known(e.mean),
            "interval": None if math.isnan(e.low) else [e.low, e.high],
            "level": self.level,
            "holds_above": _finite(self.holds[0]),
            "holds_below": _finite(self.holds[1]),
            "unit": self.unit,
            "seeds": e.n,
            "detectable": _known(e.detectable),
            "verdict": self.verdict,
            "p": _known(self.p),
            "verdict_holm": self.verdict_holm,
            "p_holm": _known(self.p_holm),
            "grid": self.grid,
            "note": self.note,
            "runs": list(self.runs),
        }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def above(estimate: Estimate, limit: float) -> Judgement:
    """Judge whether the truth is above ``limit``."""
    if math.isnan(estimate.mean):
        return NOT_TESTED
    p, holds = _level(estimate, limit), (limit, math.inf)
    if estimate.low > limit:
        return Judgement("supported", p, holds)
    return Judgement("refuted" if estimate.high < limit else "inconclusive", p, holds)


def below(estimate: Estimate, limit: float) -> Judgement:
    """Judge whether the truth is below ``limit``."""
    turned = Estimate(-estimate.mean, -estimate.high, -estimate.low, estimate.n, estimate.level)
    return dataclasses.replace(above(turned, -limit), holds=(-math.inf, limit))


def exceeds(difference: Estimate, margin: float) -> Judgement:
    """Judge whether a difference exceeds ``margin`` >= 0: one below 0 refutes that, and a smaller one does not."""
    found = above(difference, margin)
    if found.verdict != "refuted":
        return found
    if difference.high >= 0:
        return dataclasses.replace(found, verdict="smaller than the margin")
    return Judgement("refuted", above(difference, 0).p, found.holds)


def between(estimate: Estimate, low: float, high: float) -> Judgement:
    """Judge whether the truth is between ``low`` and ``high``."""
    if math.isnan(estimate.mean):
        return NOT_TESTED
    ends = _level(estimate, low), _level(estimate, high)
    if low < estimate.mean < high:
        inside = low < estimate.low and estimate.high < high
        return Judgement("supported" if inside else "inconclusive", max(ends), (low, high))
    p = ends[0] if estimate.mean <= low else ends[1]
    return Judgement("refuted" if estimate.high < low or estimate.low > high else "inconclusive", p, (low, high))


def within(estimate: Estimate, margin: float) -> Judgement:
    """Judge whether the truth is inside of ± ``margin``; with a 90 % interval, two one-sided tests at 5 %."""
    return between(estimate, -margin, margin)


def _level(estimate: Estimate, limit: float) -> float:
    """Return the p of a limit, on the scale on which an interval of the estimate's level decides at 5 %."""
    return min(1.0, estimate.p_value(limit) * ALPHA / (1 - estimate.level))


def every(judgements: Iterable[Judgement]) -> Judgement:
    """Judge a claim that must hold in every case: one counterexample refutes it.

    All that must hold are as sure as the least sure of them; a counterexample was looked for in each (Bonferroni).
    It holds where the first of them does.
    """
    found = [each for each in judgements if each.verdict != "not tested"]
    order: tuple[Verdict, ...] = ("refuted", "smaller than the margin", "inconclusive", "supported")
    verdict = next((verdict for verdict in order if any(each.verdict == verdict for each in found)), None)
    if verdict is None:
        return NOT_TESTED
    levels = [each.p for each in found if each.verdict == verdict]
    if verdict in ("supported", "inconclusive"):
        return Judgement(verdict, max(levels), found[0].holds)
    return Judgement(verdict, min(1.0, len(found) * min(levels)), found[0].holds)


def agreed(judgements: Iterable[Judgement]) -> Judgement:
    """The verdict that all cases share; inconclusive if they disagree."""
    found = [each for each in judgements if each.verdict != "not tested"]
    if not found:
        return NOT_TESTED
    if len({each.verdict for each in found}) > 1:
        return Judgement("inconclusive", holds=found[0].holds)
    return Judgement(found[0].verdict, max(each.p for each in found), found[0].holds)


NOT_TESTED = Judgement("not tested", math.nan)


def together(claims: Sequence[Claim]) -> list[Claim]:
    """Correct the p and the verdicts of one report's claims for all that were tested (Holm), beside what they were."""
    tested = [each for each in claims if each.verdict != "not tested"]
    adjusted = dict(zip((each.key for each in tested), holm([each.p for each in tested]), strict=True))
    return [
        dataclasses.replace(
            claim,
            p_holm=adjusted[claim.key],
            verdict_holm=claim.verdict if adjusted[claim.key] < ALPHA else "inconclusive",
        )
        if claim.key in adjusted
        else claim
        for claim in claims
    ]


def holm(levels: Sequence[float]) -> list[float]:
    """Correct p values for being several, in their order."""
    result = [1.0] * len(levels)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(levels)), key=lambda each: levels[each])):
        least = result[place] = max(least, min(1.0, (len(levels) - rank) * levels[place]))
    return result


def untested(claim: Claim, reason: str) -> Claim:
    """The claim, and why it was not tested."""
    return dataclasses.replace(claim, note=reason)


def decided(claim: Claim, judgement: Judgement, estimate: Estimate, note: str, runs: tuple[str, ...]) -> Claim:
    """The claim with what was found; ``estimate`` is in the claim's unit, and shares are what was judged."""
    scale = 100 if claim.unit.startswith(("%", "percentage points", "points")) else 1
    low, high = (scale * limit for limit in judgement.holds)
    found = dataclasses.replace(claim, verdict=judgement.verdict, p=judgement.p, holds=(low, high))
    return dataclasses.replace(found, estimate=estimate, note=note, runs=runs)


def in_points(estimate: Estimate) -> Estimate:
    """A share in percent, or a difference of shares in percentage points."""
    return estimate.map(lambda share: 100 * share)


def in_words(estimate: Estimate) -> str:
    """As in ``+6.8 ± 1.7 points``."""
    interval = "" if math.isnan(estimate.low) else f" ± {estimate.half_width:.1f}"
    return f"{estimate.mean:+.1f}{interval} points".replace("-", "−")
