"""Training restricted to a subnetwork: Conjecture 1 of arXiv 2505.11711, beside the controls that it lacks.

The conjecture is that training only the subnetwork that a run found gives that run's accuracy and its weights. It is
reported from single runs. Here an arm is compared with the unrestricted (*full*) runs of the same cell by seed, and

- accuracy also with a random subnetwork of the same size;
- the distance ‖θ_sub − θ_full‖ / ‖θ_full − θ_init‖ also with that of another seed's full run;
- the share of equal weights also with that between two seeds, with what Σ lr alone implies (the *bound*), and inside of
  the mask, as outside of it both runs have the init's weights whatever they do.

Weights are compared as they are exported.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass

import pandas as pd

from subnetray.analysis import roles
from subnetray.analysis.contrasts import runs_used
from subnetray.analysis.effects import accuracy_change, cells, paired_difference, runs_of, values_by_seed
from subnetray.analysis.intervals import NOTHING, Estimate, jackknife, pair_interval, t_interval
from subnetray.analysis.pairs import SEED
from subnetray.analysis.paper import PAPER
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import (
    Claim,
    above,
    decided,
    every,
    exceeds,
    in_points,
    in_words,
    untested,
    within,
)
from subnetray.config import Grid, Measurement

ACCURACY_MARGIN = 0.02  # of held-out greedy accuracy: what counts as the same
EQUAL_MARGIN = 0.01  # of the share of equal weights: what it must exceed its references by
TOLERANCES = tuple(f"{tau:g}" for tau in Measurement.NEAR)  # as in names of columns

_GAIN = "accuracy_gain"


@dataclass(frozen=True)
class Arm:
    """The runs of one arm in one context. Shares and changes of accuracy are in 0..1, estimates over seeds.

    ``distance`` and ``equal`` (by tolerance) compare an arm with its source; of a full run, with another seed's.
    ``inside`` is ``equal`` of the weights alone that are trained or, of a full run, changed.
    """

    context: str  # the levels of other factors that are not the baseline's; "" there
    level: str
    kind: str  # see :func:`subnetray.analysis.roles.kind`
    cell: Mapping[str, str]
    n: int
    budget: Estimate  # share of coordinates that are trained
    gain: Estimate  # held-out greedy accuracy, after minus before
    against_full: Estimate  # gain minus that of the full runs, paired by seed
    distance: Estimate
    equal: dict[str, Estimate]
    inside: dict[str, Estimate]
    bound: dict[str, Estimate]


def arms(results: Results) -> list[Arm]:
    """Every arm of the grid in each of its contexts, in the grid's order; none of a grid without arms."""
    grid = results.grid
    factor = roles.factor_with(grid, roles.ARM)
    if factor is None:
        return []
    results = _with_gain(results)
    found = []
    for context in _contexts(grid, factor):
        full = _cell(grid, factor, context, roles.FULL)
        for level in grid.factors[factor].levels:
            cell = {**context, **_varied(grid, factor, level)}
            selected = runs_of(results, cell)
            if selected.empty:
                continue
            kind = roles.kind(grid, factor, level)
            if full is not None:
                kind = _of_own(kind, selected, runs_of(results, full))
            same = kind == roles.FULL
            paired = {} if same or full is None else paired_difference(results, cell, full, _GAIN)
            between = _between_seeds(results, cell) if same else results.pairs.head(0)
            units = list(zip(between["a.seed"], between["b.seed"], strict=True)) if same else []

            def over(column: str) -> Estimate:
                return t_interval(values_by_seed(results, cell, column).values())  # noqa: B023 (called here)

            found.append(
                Arm(
                    context=", ".join(f"{name}={value}" for name, value in context.items()),
                    level=level,
                    kind=kind,
                    cell=cell,
                    n=len(selected),
                    budget=Estimate(1.0, math.nan, math.nan, len(selected)) if same else over("budget"),
                    gain=over(_GAIN),
                    against_full=t_interval(paired.values()),
                    distance=_pair_mean(between, units, "distance") if same else over("distance_to_source"),
                    equal={
                        tau: pair_interval(between[f"equal_{tau}"].astype(float).tolist(), units)
                        if same
                        else over(f"equal_{tau}")
                        for tau in TOLERANCES
                    },
                    inside={
                        tau: _pair_mean(between, units, f"equal_inside_{tau}")
                        if same
                        else t_interval(_inside(results, cell, tau).values())
                        for tau in TOLERANCES
                    },
                    bound={tau: NOTHING if same else over(f"bound_{tau}") for tau in TOLERANCES},
                )
            )
    return found


def claims(results: Results) -> list[Claim]:
    """What the arms say about the conjecture."""
    accuracy = Claim(
        key="subnetwork_reaches_full_accuracy",
        statement="Training only the subnetwork that a run found reaches the accuracy of full training.",
        source=f"{PAPER} Conjecture 1, Table 3: 1.6 and 2.4 points more, single runs",
        test=(
            "Equivalence (two one-sided tests at 5 %): held-out greedy accuracy of runs restricted to the final mask of"
            f" the full run of the same seed is within ± {100 * ACCURACY_MARGIN:.0f} points of the full run's, wherever"
            " the grid has both. The estimate is the largest difference."
        ),
        verdict="not tested",
        grid="subnetwork",
        level=0.9,
    )
    control = Claim(
        key="subnetwork_beats_random",
        statement="Training only the subnetwork gives a better accuracy than training a random one of its size.",
        source=f"a control that {PAPER} does not report; arXiv 2602.01599 finds that random masks do as well",
        test=(
            "Accuracy restricted to the final mask minus that restricted to as many coordinates drawn from all, paired"
            " by seed, is above 0 wherever the grid has both. The estimate is the smallest."
        ),
        verdict="not tested",
        grid="subnetwork",
    )
    nearer = Claim(
        key="subnetwork_ends_nearer_than_another_seed",
        statement="Training only the subnetwork ends nearer to the full run than a full run of another seed does.",
        source=f"{PAPER} Conjecture 1, against a reference that it lacks",
        test=(
            "‖θ − θ_full‖ / ‖θ_full − θ_init‖ of full runs of another seed minus that of runs restricted to the final"
            " mask is above 0 wherever the grid has both; jackknife over seeds. The estimate is the smallest."
        ),
        verdict="not tested",
        grid="subnetwork",
        unit="of the update's norm",
    )
    values = Claim(
        key="subnetwork_gives_the_same_values",
        statement="Inside of the mask, training only the subnetwork gives the weights of full training.",
        source=f"{PAPER} Conjecture 1, section 5: 94.0 % (DPO) and 90.5 % (PRIME) equal at 1e-5, 100 % at 1e-4",
        test=(
            "Of the weights inside of the mask (outside of it both runs have the init's, whatever they do) the share"
            f" equal at 1e-5 exceeds, by more than {100 * EQUAL_MARGIN:.0f} point, that of another seed's full run in"
            " the mask of a full run, and what the sum of learning rates alone implies if all that it implies lies"
            " inside, wherever the grid has both. The estimate is the smallest difference to the larger."
        ),
        verdict="not tested",
        grid="subnetwork",
        unit="points of the mask",
    )
    found = arms(results)
    oracle, full, random = (
        {arm.context: arm for arm in found if arm.kind == kind} for kind in (roles.ORACLE, roles.FULL, roles.RANDOM)
    )
    if not oracle:
        reason = "the grid restricts no run to its own final mask, or none has finished"
        return [untested(each, reason) for each in (accuracy, control, nearer, values)]
    results = _with_gain(results)
    return [
        _accuracy(accuracy, results, oracle, full),
        _control(control, results, oracle, random),
        _nearer(nearer, results, {roles.ORACLE: oracle, roles.FULL: full, roles.RANDOM: random}),
        _values(values, results, oracle, full),
    ]


_Arms = Mapping[str, Arm]  # by context


def _accuracy(claim: Claim, results: Results, oracle: _Arms, full: _Arms) -> Claim:
    found = _gained(results, oracle, full, claim.level)
    if not found:
        return untested(claim, "no seed has finished both restricted to its final mask and in full")
    largest = max(found.values(), key=lambda estimate: abs(estimate.mean))
    verdict = every(within(estimate, ACCURACY_MARGIN) for estimate in found.values())
    used = runs_used(results, [each[context].cell for context in found for each in (full, oracle)])
    return decided(claim, verdict, in_points(largest), _by_context(found), used)


def _control(claim: Claim, results: Results, oracle: _Arms, random: _Arms) -> Claim:
    found = _gained(results, oracle, random, claim.level)
    if not found:
        return untested(claim, "no seed has finished restricted to its final mask and to a random one")
    smallest = min(found.values(), key=lambda estimate: estimate.mean)
    used = runs_used(results, [each[context].cell for context in found for each in (oracle, random)])
    return decided(claim, every(above(e, 0) for e in found.values()), in_points(smallest), _by_context(found), used)


def _gained(results: Results, arms: _Arms, than: _Arms, level: float) -> dict[str, Estimate]:
    """By context: the gain of ``arms`` minus that of ``than``, paired by seed, wherever a seed has finished both."""
    found = {
        context: t_interval(paired_difference(results, arm.cell, than[context].cell, _GAIN).values(), level)
        for context, arm in arms.items()
        if context in than
    }
    return {context: estimate for context, estimate in found.items() if estimate.n}


def _nearer(claim: Claim, results: Results, arms: Mapping[str, _Arms]) -> Claim:
    oracle, full, random = (arms[kind] for kind in (roles.ORACLE, roles.FULL, roles.RANDOM))
    found: dict[str, Estimate] = {}
    for context, arm in oracle.items():
        distances = values_by_seed(results, arm.cell, "distance_to_source")
        if context in full and len(distances) > 1:
            between = _between_seeds(results, full[context].cell)
            found[context] = _difference(distances, between)
    found = {context: estimate for context, estimate in found.items() if not math.isnan(estimate.mean)}
    if not found:
        return untested(claim, "no two seeds have finished both restricted to their final masks and in full")
    smallest = min(found.values(), key=lambda estimate: estimate.mean)
    notes = []
    for context in found:
        parts = [f"final mask {oracle[context].distance.mean:.2f}", f"another seed {full[context].distance.mean:.2f}"]
        if context in random and not math.isnan(random[context].distance.mean):
            parts.append(f"random mask {random[context].distance.mean:.2f}")
        notes.append(f"{context or 'baseline'}: {', '.join(parts)}")
    used = runs_used(results, [each[context].cell for context in found for each in (full, oracle)])
    return decided(claim, every(above(each, 0) for each in found.values()), smallest, "; ".join(notes), used)


def _values(claim: Claim, results: Results, oracle: _Arms, full: _Arms) -> Claim:
    fine, coarse = TOLERANCES
    found: dict[str, Estimate] = {}
    notes = []
    for context, arm in oracle.items():
        if context not in full or not arm.inside[fine].n or not full[context].inside[fine].n:
            continue
        references = {tau: (full[context].inside[tau].mean, _most_by_bound(arm, tau)) for tau in TOLERANCES}
        reference = max(each for each in references[fine] if not math.isnan(each))
        found[context] = arm.inside[fine].map(lambda share, least=reference: share - least)  # type: ignore[misc]
        parts = []
        for tau in (fine, coarse):
            seeds, bound = references[tau]
            parts.append(
                f"{100 * arm.inside[tau].mean:.1f} % at {float(tau):g} inside of the mask ({100 * seeds:.1f} % of"
                " another seed's"
                + ("" if math.isnan(bound) else f"; at most {100 * bound:.1f} % by Σ lr alone")
                + f"; {100 * arm.equal[tau].mean:.1f} % of all weights)"
            )
        notes.append(f"{context or 'baseline'}: {', '.join(parts)}")
    if not found:
        return untested(claim, "no seed has finished both restricted to its final mask and in full")
    smallest = min(found.values(), key=lambda estimate: estimate.mean)
    verdict = every(exceeds(estimate, EQUAL_MARGIN) for estimate in found.values())
    used = runs_used(results, [each[context].cell for context in found for each in (full, oracle)])
    return decided(claim, verdict, in_points(smallest), "; ".join(notes), used)


def _inside(results: Results, cell: Mapping[str, str], tau: str) -> dict[int, float]:
    """Return, by seed, the share of the weights that a restricted run trains which end as in its source.

    Outside of the mask both have the init's weights, so that all of those are equal.
    """
    equal, budget = (values_by_seed(results, cell, name) for name in (f"equal_{tau}", "budget"))
    return {seed: (equal[seed] - (1 - budget[seed])) / budget[seed] for seed in equal if budget.get(seed, 0) > 0}


def _most_by_bound(arm: Arm, tau: str) -> float:
    """Return the largest share of the mask that Σ lr alone may hold equal, NaN if that is not known."""
    return min(1.0, arm.bound[tau].mean / arm.budget.mean) if not math.isnan(arm.bound[tau].mean) else math.nan


def _difference(distances: Mapping[int, float], between: pd.DataFrame) -> Estimate:
    """Mean distance between seeds minus the mean of ``distances`` by seed, with the jackknife over seeds."""
    rows = list(zip(between["a.seed"], between["b.seed"], _symmetric(between, "distance"), strict=True))

    def statistic(kept: Collection[Hashable]) -> float:
        apart = [value for a, b, value in rows if a in kept and b in kept and not math.isnan(value)]
        own = [value for seed, value in distances.items() if seed in kept]
        return math.fsum(apart) / len(apart) - math.fsum(own) / len(own) if apart and own else math.nan

    return jackknife(list(distances), statistic)


def _pair_mean(between: pd.DataFrame, units: list[tuple[int, int]], column: str) -> Estimate:
    return pair_interval(_symmetric(between, column), units)


def _symmetric(between: pd.DataFrame, column: str) -> list[float]:
    """Average the two values of each pair, one a run; NaN where an older table has no such column."""
    if f"{column}_a" not in between:
        return [math.nan] * len(between)
    return ((between[f"{column}_a"].astype(float) + between[f"{column}_b"].astype(float)) / 2).tolist()


def _between_seeds(results: Results, cell: Mapping[str, str]) -> pd.DataFrame:
    """The pairs of one cell's runs."""
    selected = results.pairs[results.pairs["differs"] == SEED]
    for name, factor in results.grid.factors.items():
        selected = selected[selected[f"a.{name}"] == cell.get(name, factor.baseline)]
    return selected


def _of_own(kind: str, arm: pd.DataFrame, full: pd.DataFrame) -> str:
    """``kind`` without its source where that is the full run of the same cell and seed, whatever overrides name it."""
    beside = dict(zip(full["seed"], full["run_id"], strict=True))
    own = all(source == beside.get(seed) for seed, source in zip(arm["seed"], arm["source"], strict=True))
    return kind.partition(" of ")[0] if own else kind


def _contexts(grid: Grid, factor: str) -> list[dict[str, str]]:
    """What the grid's cells vary besides ``factor``, each once."""
    others = [{name: level for name, level in each.items() if name != factor} for each in cells(grid)]
    return [dict(each) for each in dict.fromkeys(tuple(each.items()) for each in others)]


def _cell(grid: Grid, factor: str, context: Mapping[str, str], kind: str) -> dict[str, str] | None:
    levels = [level for level in grid.factors[factor].levels if roles.kind(grid, factor, level) == kind]
    return {**context, **_varied(grid, factor, levels[0])} if levels else None


def _varied(grid: Grid, factor: str, level: str) -> dict[str, str]:
    return {} if level == grid.factors[factor].baseline else {factor: level}


def _with_gain(results: Results) -> Results:
    return results.among(results.runs.assign(**{_GAIN: accuracy_change(results.runs, "greedy")}))


def _by_context(found: Mapping[str, Estimate]) -> str:
    return "; ".join(f"{context or 'baseline'}: {in_words(in_points(each))}" for context, each in found.items())
