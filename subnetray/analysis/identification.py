"""Early identification: how well scores at early steps find a run's final mask, over the seeds of a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subnetray.analysis.intervals import Estimate, t_interval


@dataclass(frozen=True)
class Found:
    """One score, by step: average precision, and precision at the final mask's budget (where recall is the same)."""

    score: str
    auprc: Mapping[int, Estimate]
    precision: Mapping[int, Estimate]


@dataclass(frozen=True)
class Identification:
    """The scores of one cell's runs, as they are in ``result.json``; chance is ``density`` for both measures."""

    n: int
    density: Estimate
    scores: tuple[Found, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that scores were kept at."""
        return tuple(self.scores[0].auprc) if self.scores else ()

    def at(self, score: str) -> Found | None:
        """One score's."""
        return next((each for each in self.scores if each.score == score), None)


def identification(results: Sequence[Sequence[Mapping[str, Any]]]) -> Identification | None:
    """What the ``early`` lists of several runs' results say; None if there are none.

    Numbers that do not exist (of an empty final mask) are left out of a mean.
    """
    kept = [rows for rows in results if rows]
    if not kept:
        return None
    names = dict.fromkeys((row["score"]) for rows in kept for row in rows)
    steps = sorted({int(row["step"]) for rows in kept for row in rows})

    def over_runs(score: str, step: int, what: str) -> Estimate:
        values = [row[what] for rows in kept for row in rows if row["score"] == score and row["step"] == step]
        return t_interval(value for value in values if value is not None)

    return Identification(
        n=len(kept),
        density=t_interval(rows[0]["density"] for rows in kept if rows[0]["density"] is not None),
        scores=tuple(
            Found(
                score,
                {step: over_runs(score, step, "auprc") for step in steps},
                {step: over_runs(score, step, "precision") for step in steps},
            )
            for score in names
        ),
    )
