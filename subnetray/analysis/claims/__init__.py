"""Judge what the literature claims by the results of a grid.

A verdict follows from an estimate's interval and a margin that the claim's ``test`` states: see ``verdicts``. A judge
takes :class:`~subnetray.analysis.results.Results` and returns its claims; those of other packages come last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from subnetray import plugins
from subnetray.analysis.claims import (
    ceiling,
    conjecture,
    distribution,
    factors,
    interactions,
    parts,
    published,
    rank,
    restricted,
    sparsity,
    stages,
)
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, together

Judge = Callable[[Results], Sequence[Claim]]


def _misfit(_: str, judge: Any) -> str | None:
    return None if callable(judge) else "a judge is a function of Results that returns a list of claims"


# In the order of the literature.
_OURS: tuple[Judge, ...] = (
    sparsity.claims,
    published.claims,
    factors.regularized,
    stages.claims,
    factors.more_steps,
    distribution.claims,
    factors.along_the_run,
    parts.claims,
    rank.claims,
    factors.overlapping,
    ceiling.claims,
    factors.variance,
    interactions.claims,
    conjecture.claims,
    restricted.claims,
)
JUDGES: tuple[Judge, ...] = (*_OURS, *plugins.load("claims", _misfit).values())


def claims(results: Results) -> list[Claim]:
    """Every claim, and what is left of its verdict when all of them count."""
    return together([claim for judge in JUDGES for claim in judge(results)])


__all__ = ["JUDGES", "Judge", "claims"]
