"""Test whether the effect of one factor depends on another, which the paper leaves open: it varies one at a time.

Each crossing of the grid is one model (``factorial``) of the log odds of density, and one of overlap. Seeds, and inits
where the grid has several, are blocks: what is found holds for the inits that the grid has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from subnetray.analysis import roles
from subnetray.analysis.contrasts import NLL_GAP, data_contrasts, logit, nll_gap
from subnetray.analysis.effects import DENSITY, done
from subnetray.analysis.factorial import Fit, Observation, fit
from subnetray.analysis.intervals import t_interval
from subnetray.analysis.manipulation import FULL
from subnetray.analysis.pairs import SEED
from subnetray.analysis.paper import PAPER
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, decided, every, untested, within
from subnetray.config import Grid
from subnetray.grid import fraction
from subnetray.nulls import STRONGEST

DENSITY_RESPONSE = "log odds of density"
OVERLAP_RESPONSE = "overlap of seeds"
ODDS = 1.5  # what the odds of a weight to change may be multiplied by, and an effect still counts as the same

_WORDS = {
    roles.METHOD: "the algorithm",
    roles.DISTRIBUTION: "the distribution of the training data",
    roles.LEARNING_RATE: "the learning rate",
    roles.PRECISION: "the precision",
}
_ASKED = tuple(itertools.combinations(_WORDS, 2))


@dataclass(frozen=True)
class Model:
    """One crossing and one response; ``reason`` says why there is no fit."""

    factors: tuple[str, ...]
    response: str
    fit: Fit | None
    reason: str = ""


def models(results: Results) -> list[Model]:
    """The models of every crossing of at least two factors; none of a grid with a single seed and init."""
    grid, found = results.grid, []
    for crossing in grid.crossed:
        levels = {name: tuple(dict.fromkeys(crossing[name])) for name in fraction.treatments(grid, crossing)}
        levels = {name: known for name, known in levels.items() if len(known) > 1}
        if len(levels) < 2:
            continue
        selected = done(_inside(results, crossing))
        if selected.empty or selected[[SEED, *_blocks(grid, crossing)]].drop_duplicates().shape[0] < 2:
            continue
        cells = list(dict.fromkeys(tuple(cell[name] for name in levels) for cell in fraction.cells(grid, crossing)))
        aliased = fraction.aliases(grid, crossing)
        values = {
            DENSITY_RESPONSE: [logit(density, n) for density, n in selected[[DENSITY, "n"]].itertuples(index=False)],
            OVERLAP_RESPONSE: _overlaps(results, selected),
        }
        for response, known in values.items():
            observations = [
                Observation(tuple(row[: len(levels)]), int(row[len(levels)]), tuple(row[len(levels) + 1 :]), value)
                for row, value in zip(
                    selected[[*levels, SEED, *_blocks(grid, crossing)]].itertuples(index=False), known, strict=True
                )
                if math.isfinite(value)
            ]
            if not observations:
                continue
            try:
                found.append(Model(tuple(levels), response, fit(levels, cells, observations, aliased)))
            except ValueError as error:
                found.append(Model(tuple(levels), response, None, str(error)))
    return found


def claims(results: Results) -> list[Claim]:
    """Judge whether effects of algorithm, data, learning rate and precision depend on each other, two at a time."""
    return [_independent(results, *each) for each in _ASKED]


def _independent(results: Results, one: str, other: str) -> Claim:
    claim = Claim(
        key=f"effect_of_{one}_does_not_depend_on_{other}",
        statement=f"The effect of {_WORDS[one]} on density does not depend on {_WORDS[other]}.",
        source=f"{PAPER}, limitations: it varies one factor at a time, and says nothing of interactions",
        test=(
            f"Equivalence (two one-sided tests at 5 %): the log odds of density by which two levels of {_WORDS[one]}"
            f" differ change by at most ± {math.log(ODDS):.2f} (odds by a factor of {ODDS:g}) from one level of"
            f" {_WORDS[other]} to another, for every two levels of both, mean over the other factors of the crossing,"
            " paired by seed and init. The estimate is the largest change, for the grid's inits and levels. Updates"
            f" must fill between {100 * (1 - FULL):.0f} and {100 * FULL:.0f} % of the model."
        ),
        verdict="not tested",
        grid="factorial",
        unit="log odds",
        level=0.9,
    )
    grid = results.grid
    names = [roles.factor_with(grid, each) for each in (one, other)]
    crossing = None
    if names[0] is not None and names[1] is not None:
        pair = {names[0], names[1]}
        inside = [each for each in grid.crossed if all(len(set(each.get(name, ()))) > 1 for name in pair)]
        told = [
            each for each in inside if not any(pair == set(t) for group in fraction.aliases(grid, each) for t in group)
        ]
        crossing = next(iter(told), None)
    if crossing is None or names[0] is None or names[1] is None:
        return untested(claim, f"the grid does not cross {_WORDS[one]} with {_WORDS[other]}")
    selected = done(_inside(results, crossing))
    if roles.DISTRIBUTION in (one, other) and (reason := _near(results, crossing)):
        return untested(claim, reason)
    selected = selected.assign(value=[logit(d, n) for d, n in selected[[DENSITY, "n"]].itertuples(index=False)])
    densities = selected.groupby(names, sort=False)[DENSITY].mean()
    full = [cell for cell, value in densities.items() if not 1 - FULL < value < FULL]
    if full:
        where = ", ".join(" and ".join(map(str, cell)) for cell in full if isinstance(cell, tuple))
        return untested(claim, f"updates at {where} change almost all weights, or almost none")
    contrasts, used = _changes(grid, selected, crossing, (names[0], names[1]))
    if not contrasts:
        return untested(claim, "fewer than two seeds have finished in every cell of the crossing")
    estimates = {words: t_interval(values, claim.level) for words, values in contrasts.items()}
    words, largest = max(estimates.items(), key=lambda item: abs(item[1].mean))
    blocks = selected[[SEED, *_blocks(grid, crossing)]].drop_duplicates()
    inits = len(blocks.drop(columns=SEED).drop_duplicates()) if len(blocks.columns) > 1 else 1
    note = f"{words}; {largest.n} blocks, of {inits} init{'s' if inits > 1 else ''}"
    return decided(claim, every(within(each, math.log(ODDS)) for each in estimates.values()), largest, note, used)


def _changes(
    grid: Grid, selected: pd.DataFrame, crossing: Mapping[str, Sequence[str]], names: tuple[str, str]
) -> tuple[dict[str, list[float]], tuple[str, ...]]:
    """Return, by its words, how the difference of two levels of one factor changes with another's, and the runs used.

    There is one number for every block that is whole.
    """
    blocks = [SEED, *_blocks(grid, crossing)]
    treatments = fraction.treatments(grid, crossing)
    planned = len({tuple(cell[name] for name in treatments) for cell in fraction.cells(grid, crossing)})
    whole = [block for _, block in selected.groupby(blocks, sort=False) if len(block) == planned]
    if len(whole) < 2:
        return {}, ()
    result: dict[str, list[float]] = {}
    (a, b), levels = names, [list(dict.fromkeys(crossing[name])) for name in names]
    for block in whole:
        means = block.groupby([a, b])["value"].mean()
        for x, y in itertools.combinations(levels[0], 2):
            for u, v in itertools.combinations(levels[1], 2):
                words = f"{y} minus {x}, at {v} minus at {u}"
                change = (means[y, v] - means[x, v]) - (means[y, u] - means[x, u])
                result.setdefault(words, []).append(float(change))
    return result, tuple(str(run) for block in whole for run in block["run_id"])


def _near(results: Results, crossing: Mapping[str, Sequence[str]]) -> str:
    """Say which algorithm of a crossing has data off the distribution that are not far from those in it."""
    method = roles.factor_with(results.grid, roles.METHOD)
    for algorithm, contrast in data_contrasts(results).items():
        crossed = method is None or any(cell[method] in crossing.get(method, ()) for cell in contrast.inside)
        gap = nll_gap(results, contrast.inside, contrast.outside)
        if crossed and not gap >= NLL_GAP:
            found = "is not known" if math.isnan(gap) else f"is {gap:+.2f} nats a token".replace("-", "−")
            return f"{algorithm}: the NLL of its off-distribution data, above that of the others, {found}"
    return ""


def _inside(results: Results, crossing: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The runs of a crossing's cells, with the baseline's levels of what it does not vary."""
    inside = np.ones(len(results.runs), dtype=bool)
    for name, factor in results.grid.factors.items():
        inside &= results.runs[name].isin(crossing.get(name, [factor.baseline])).to_numpy()
    if results.grid.design in fraction.RESOLUTIONS:
        names = fraction.treatments(results.grid, crossing)
        cells = {tuple(cell[name] for name in names) for cell in fraction.cells(results.grid, crossing)}
        inside &= np.array([tuple(row) in cells for row in results.runs[names].itertuples(index=False)], dtype=bool)
    return results.runs[inside]


def _blocks(grid: Grid, crossing: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for name in crossing if grid.factors[name].block]


def _overlaps(results: Results, selected: pd.DataFrame) -> list[float]:
    """Return what each run takes of the room that the strongest null leaves to overlaps with other seeds of its cell.

    Pairs share runs. So a run's value is its pseudo-value in the jackknife of the mean over its cell's pairs (J. Tukey,
    Annals of Mathematical Statistics 29, 1958): where an overlap is the sum of what both runs bring, twice what this
    one brings. NaN in cells of fewer than three seeds, and of masks that leave no room.
    """
    found: dict[str, float] = {}
    names = list(results.grid.factors)
    same = results.pairs[results.pairs["differs"] == SEED]
    room = same[(same["k1"] < FULL * same["n"]) & (same["k2"] < FULL * same["n"])]
    null = f"{STRONGEST}_o1"
    taken = room.assign(taken=(room["o1"] - room[null]) / (1 - room[null]))
    for _, inside in taken.groupby([f"a.{name}" for name in names], sort=False) if names else [((), taken)]:
        found |= pseudo_values(list(inside[["run_a", "run_b", "taken"]].itertuples(index=False, name=None)))
    return [found.get(run, math.nan) for run in selected["run_id"]]


def pseudo_values(pairs: Sequence[tuple[str, str, float]]) -> dict[str, float]:
    """Return, by unit, R · mean over all pairs − (R − 1) · mean over the pairs without it.

    ``pairs``: two units and a value each. None of fewer than three units, R.
    """
    units = list(dict.fromkeys(unit for a, b, _ in pairs for unit in (a, b)))
    r = len(units)
    result = {}
    for unit in units if r > 2 else ():
        without = [value for a, b, value in pairs if unit not in (a, b)]
        if without:
            whole = math.fsum(value for *_, value in pairs) / len(pairs)
            result[unit] = r * whole - (r - 1) * math.fsum(without) / len(without)
    return result
