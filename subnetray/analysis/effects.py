"""Effects of factors on density and accuracy: one factor at a time around the baseline, and crossings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from subnetray.analysis.intervals import NOTHING, Estimate, t_interval
from subnetray.analysis.results import Results
from subnetray.config import Grid
from subnetray.grid.design import baseline, expand
from subnetray.grid.fraction import RESOLUTIONS

DENSITY = "density_bitwise"
TOLERANT_DENSITY = "density_1e-05"


@dataclass(frozen=True)
class Cell:
    """What the runs of one cell say; estimates are over its seeds. Shares, accuracy changes included, are in 0..1."""

    n: int
    density: Estimate
    tolerant_density: Estimate  # share of coordinates with |Δ| > 1e-5, the paper's tolerance
    greedy_change: Estimate
    sampled_change: Estimate
    nll: Estimate  # nats per token of the training data under the init


@dataclass(frozen=True)
class Origin:
    """One level of one factor, all others at their baseline."""

    factor: str
    level: str
    is_baseline: bool
    cell: Cell
    difference: Estimate  # of density to the baseline, paired by seed


@dataclass(frozen=True)
class Crossing:
    """Two factors crossed, all others at their baseline."""

    rows: str
    columns: str
    row_levels: tuple[str, ...]
    column_levels: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]


def done(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that have results."""
    return runs[runs["status"] == "done"]


def runs_of(results: Results, varied: Mapping[str, str]) -> pd.DataFrame:
    """The finished runs of the cell with the levels ``varied`` and the baseline's elsewhere, in order of seeds."""
    inside = (results.runs["status"] == "done").to_numpy()
    for factor, level in (baseline(results.grid) | dict(varied)).items():
        inside = inside & (results.runs[factor] == level).to_numpy()
    places = np.flatnonzero(inside)
    # One copy of the rows: a report asks for hundreds of cells.
    return results.runs.iloc[places[np.argsort(results.runs["seed"].to_numpy()[places], kind="stable")]]


def cell(results: Results, varied: Mapping[str, str]) -> Cell:
    """What the runs of one cell say."""
    selected = runs_of(results, varied)
    return Cell(
        n=len(selected),
        density=_over_seeds(selected, DENSITY),
        tolerant_density=_over_seeds(selected, TOLERANT_DENSITY),
        greedy_change=t_interval(accuracy_change(selected, "greedy")),
        sampled_change=t_interval(accuracy_change(selected, "sampled")),
        nll=_over_seeds(selected, "data_nll"),
    )


def accuracy_change(runs: pd.DataFrame, decoding: str) -> pd.Series[float]:
    """Held-out accuracy after minus before, run by run."""
    return runs[f"accuracy_{decoding}_after"].astype(float) - runs[f"accuracy_{decoding}_before"].astype(float)


def values_by_seed(results: Results, cell: Mapping[str, str], column: str) -> dict[int, float]:
    """A column's values that are known, by seed; none where runs were written before there was such a column."""
    if column not in results.runs:
        return {}
    selected = runs_of(results, cell)
    values = zip(selected["seed"].astype(int), selected[column].astype(float), strict=True)
    return {seed: value for seed, value in values if not math.isnan(value)}


def paired_difference(
    results: Results, varied: Mapping[str, str], reference: Mapping[str, str], column: str = DENSITY
) -> dict[int, float]:
    """``column`` in one cell minus that in another, by seed: same seed, same prompts in the same order."""
    one, other = (
        dict(zip(selected["seed"].astype(int), selected[column].astype(float), strict=True))
        for selected in (runs_of(results, varied), runs_of(results, reference))
    )
    return {seed: one[seed] - other[seed] for seed in one if seed in other}


def cells(grid: Grid) -> list[dict[str, str]]:
    """What each cell of the grid varies (levels that are not the baseline's), in the design's order."""
    base = baseline(grid)
    return [{name: level for name, level in each.items() if level != base[name]} for each in expand(grid)]


def origins(results: Results) -> list[Origin]:
    """Every factor's levels with all other factors at their baseline, where the grid has such cells."""
    base = baseline(results.grid)
    planned = [each for each in cells(results.grid) if len(each) == 1]
    result = []
    for factor, content in results.grid.factors.items():
        levels = [level for level in content.levels if level == content.baseline or {factor: level} in planned]
        for level in levels if len(levels) > 1 else ():
            varied = {factor: level}
            same = level == base[factor]
            paired = {} if same else paired_difference(results, varied, {})
            result.append(Origin(factor, level, same, cell(results, varied), t_interval(paired.values())))
    return result


def ranges(rows: list[Origin]) -> dict[str, float]:
    """How far a factor moves the mean density over its levels, the widest first; factors measured at one level only
    are left out."""
    densities: dict[str, list[float]] = {}
    for row in rows:
        if not math.isnan(row.cell.density.mean):
            densities.setdefault(row.factor, []).append(row.cell.density.mean)
    widths = {factor: max(values) - min(values) for factor, values in densities.items() if len(values) > 1}
    return dict(sorted(widths.items(), key=lambda item: -item[1]))


def crossings(results: Results) -> list[Crossing]:
    """Every two factors that the grid crosses, all others at their baseline; none of blocks, nor of fractions, which
    lack most of such cells."""
    result: dict[tuple[str, str], Crossing] = {}
    for crossed in results.grid.crossed if results.grid.design not in RESOLUTIONS else ():
        asked = [(name, levels) for name, levels in crossed.items() if not results.grid.factors[name].block]
        for (rows, row_levels), (columns, column_levels) in itertools.combinations(asked, 2):
            inside = {
                (row, column): cell(results, {rows: row, columns: column})
                for row in row_levels
                for column in column_levels
            }
            result[rows, columns] = Crossing(rows, columns, tuple(row_levels), tuple(column_levels), inside)
    return list(result.values())


def spreads(crossing: Crossing) -> tuple[list[float], list[float]]:
    """How far mean density moves: over the columns at each row's level, and over the rows at each column's level.

    NaN where fewer than two cells have runs.
    """

    def spread(inside: list[Cell]) -> float:
        means = [each.density.mean for each in inside if each.n]
        return max(means) - min(means) if len(means) > 1 else math.nan

    table = crossing.cells
    over_columns = [spread([table[row, column] for column in crossing.column_levels]) for row in crossing.row_levels]
    over_rows = [spread([table[row, column] for row in crossing.row_levels]) for column in crossing.column_levels]
    return over_columns, over_rows


def _over_seeds(selected: pd.DataFrame, column: str) -> Estimate:
    return t_interval(selected[column].astype(float)) if column in selected else NOTHING
