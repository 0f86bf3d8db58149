"""How much of what masks can share is shared: the axes of the paper's Table 4, between the nulls and a ceiling.

The ceiling is the overlap of replicas: runs of one cell, seed and order of data that differ in what they sampled alone.
What lies between the strongest null and the ceiling is all that a common subnetwork could explain.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from dataclasses import dataclass

import pandas as pd

from subnetray.analysis import roles
from subnetray.analysis.intervals import NOTHING, Estimate, jackknife
from subnetray.analysis.pairs import SEED, Group, around_baseline, group
from subnetray.analysis.paper import PAPER
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, decided, exceeds, in_points, in_words, untested
from subnetray.nulls import NULLS, STRONGEST, Uniform

OVERLAP_MARGIN = 0.02  # of the room that an expectation leaves: what an overlap must take of it
UNKNOWN = "the table of pairs was made without this null: the command that ran the sweep makes it again"
ROOM_TAKEN = "o1 minus its expectation, as a share of what the expectation leaves (1 minus it)"

_AXES = (
    ("noise (replicas)", (roles.REPLICA,)),
    ("seed", (SEED,)),
    ("prompts", (roles.PROMPTS,)),
    ("data", (roles.DATA,)),
    ("seed and data", (SEED, roles.DATA)),
    ("algorithm", (roles.METHOD,)),
    ("init", (roles.INIT_SEED,)),
    ("seed and algorithm", (SEED, roles.METHOD)),
    ("seed, data and algorithm", (SEED, roles.DATA, roles.METHOD)),
)


@dataclass(frozen=True)
class Axis:
    """Pairs that differ in one way; one of the two levels of each factor, and all other levels, are the baseline's.

    ``of_ceiling``: mean excess of o1 over the strongest null, as a share of that of replicas; jackknife over seeds.
    """

    name: str
    group: Group
    of_ceiling: Estimate


def axes(results: Results) -> list[Axis]:
    """The axes that the grid has pairs on, replicas first; none of a grid without replicas.

    ``pairs``: as :func:`subnetray.analysis.pairs.label_pairs` makes them.
    """
    ceiling = _pairs(results, (roles.REPLICA,))
    if ceiling.empty:
        return []
    found = []
    for name, differs in _AXES:
        selected = _pairs(results, differs)
        if not selected.empty:
            found.append(Axis(name, group(results.grid, selected), _share(selected, ceiling)))
    return found


def claims(results: Results) -> list[Claim]:
    """Whether masks that share neither seed nor data nor algorithm have more in common than each null expects."""
    return [_beyond(results, Uniform.name), _beyond(results, STRONGEST)]


def _beyond(results: Results, null: str) -> Claim:
    claim = Claim(
        key=f"all_changed_overlap_beyond_{null}",
        statement=f"Masks of another seed, data set and algorithm overlap more than {called(null)} expects.",
        source=f"{PAPER} Table 4, third row" + ("" if null == Uniform.name else ", against a null that it lacks"),
        test=(
            f"{ROOM_TAKEN}, mean over all pairs that differ in seed, data and algorithm, one of the two levels of each"
            f" being the baseline's, exceeds {100 * OVERLAP_MARGIN:.0f} %; jackknife over seeds."
        ),
        verdict="not tested",
        grid="overlap",
        unit="% of the room",
    )
    selected = _pairs(results, (SEED, roles.DATA, roles.METHOD))
    if selected.empty:
        return untested(claim, "the grid has no pairs that differ in seed, data and algorithm, or none has finished")
    whole = group(results.grid, selected)
    found = whole.nulls[null]
    if math.isnan(found.room.mean):
        return untested(claim, UNKNOWN)
    note = f"o1 {100 * whole.o1.mean:.1f} %, {in_words(in_points(found.excess))} above it"
    ceiling = _pairs(results, (roles.REPLICA,))
    if not ceiling.empty:
        most = group(results.grid, ceiling)
        over = in_words(in_points(most.nulls[null].excess))
        note += f"; replicas, which differ by noise alone: {100 * most.o1.mean:.1f} %, {over}"
    used = tuple(dict.fromkeys((*selected["run_a"], *selected["run_b"])))
    return decided(claim, exceeds(found.room, OVERLAP_MARGIN), in_points(found.room), note, used)


def called(null: str) -> str:
    """A null as sentences name it, with what it takes as given where that is not in its name."""
    known = "" if null == Uniform.name else f" ({NULLS[null].given})"
    return f"the {NULLS[null].title} null{known}"


def _pairs(results: Results, differs: tuple[str, ...]) -> pd.DataFrame:
    """Around the baseline; none if the grid lacks a factor of one of the roles."""
    names = [SEED if each == SEED else roles.factor_with(results.grid, each) for each in differs]
    known = [name for name in names if name is not None]
    return around_baseline(results.grid, results.pairs, *known) if len(known) == len(names) else results.pairs.head(0)


def _share(selected: pd.DataFrame, ceiling: pd.DataFrame) -> Estimate:
    rows, most = (
        list(zip(each["a.seed"], each["b.seed"], (each["o1"] - each[f"{STRONGEST}_o1"]).astype(float), strict=True))
        for each in (selected, ceiling)
    )

    def mean(of: list[tuple[int, int, float]], kept: Collection[Hashable]) -> float:
        inside = [value for a, b, value in of if a in kept and b in kept and not math.isnan(value)]
        return math.fsum(inside) / len(inside) if inside else math.nan

    def statistic(kept: Collection[Hashable]) -> float:
        possible = mean(most, kept)
        return mean(rows, kept) / possible if possible > 0 else math.nan

    units = list(dict.fromkeys(seed for a, b, _ in rows for seed in (a, b)))
    return jackknife(units, statistic) if units else NOTHING
