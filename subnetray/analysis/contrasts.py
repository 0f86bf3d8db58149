"""What claims are made of: densities by seed, differences between cells, and the runs that went into them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from subnetray.analysis import roles
from subnetray.analysis.effects import DENSITY, paired_difference, runs_of, values_by_seed
from subnetray.analysis.results import Results

NLL_GAP = 1.0  # nats a token under the init that data off the policy's distribution lie above data in it


def logit(density: float, n: float) -> float:
    """log(d / (1 − d)), moved inwards by half a coordinate so that 0 and 1 stay finite."""
    changed = density * n + 0.5
    return math.log(changed / (n + 1 - changed))


def densities(results: Results, cell: Mapping[str, str]) -> dict[int, float]:
    """Of a cell's runs, by seed."""
    return values_by_seed(results, cell, DENSITY)


@dataclass(frozen=True)
class Contrast:
    """One algorithm on data in and off its policy's distribution: cells, and density off minus in by seed."""

    inside: list[dict[str, str]]
    outside: list[dict[str, str]]
    differences: dict[int, float]


def data_contrasts(results: Results) -> dict[str, Contrast]:
    """The contrast of each algorithm that has finished seeds on both.

    Where data of an algorithm are off the distribution by name and some of them are far from the policy, those that are
    near do not count.
    """
    sides: dict[str, tuple[list[dict[str, str]], list[dict[str, str]]]] = {}
    for cell, kind in roles.methods(results.grid):
        algorithm, data = kind.split("/")
        sides.setdefault(algorithm, ([], []))[data in roles.OFF_DISTRIBUTION].append(cell)
    result = {}
    for algorithm, (inside, outside) in sides.items():
        far = [cell for cell in outside if nll_gap(results, inside, [cell]) >= NLL_GAP] if inside else []
        outside = far or outside
        if inside and outside:
            differences = mean_difference(results, outside, inside)
            if differences:
                result[algorithm] = Contrast(inside, outside, differences)
    return result


def mean_difference(
    results: Results, cells: Iterable[Mapping[str, str]], reference: Iterable[Mapping[str, str]]
) -> dict[int, float]:
    """Mean density over ``cells`` minus that over ``reference``, by seed; cells without runs do not count."""
    one, other = (
        [densities(results, cell) for cell in each if len(runs_of(results, cell))] for each in (cells, reference)
    )
    seeds = set.intersection(*map(set, (*one, *other))) if one and other else set()
    return {seed: _mean(one, seed) - _mean(other, seed) for seed in sorted(seeds)}


def nll_gap(results: Results, inside: Iterable[Mapping[str, str]], outside: Iterable[Mapping[str, str]]) -> float:
    """Subtract the NLL of the data ``inside`` from that ``outside``, under the init; nats a token, NaN if unknown."""
    return mean_data_nll(results, outside) - mean_data_nll(results, inside)


def mean_data_nll(results: Results, cells: Iterable[Mapping[str, str]]) -> float:
    """Mean NLL of the training data under the init, over the runs of some cells."""
    return float(pd.concat([runs_of(results, cell)["data_nll"].astype(float) for cell in cells]).mean())


def tenfold_effect(
    results: Results, factor: str, cell: Mapping[str, str]
) -> tuple[dict[int, float], list[dict[str, str]]]:
    """Return what a tenfold learning rate adds to a cell's density, by seed, and the two cells that were compared.

    ``factor``: the one of the rate, between whose lowest and highest level with finished runs it is measured.
    """
    found = [{**cell, factor: level} for level in results.grid.factors[factor].levels]
    found = [each for each in found if len(runs_of(results, each))]
    rates = [float(runs_of(results, each)["lr"].iloc[0]) for each in found]
    if len(set(rates)) < 2:
        return {}, []
    low, high = (found[rates.index(extreme(rates))] for extreme in (min, max))
    decades = math.log10(max(rates) / min(rates))
    by_seed = paired_difference(results, high, low)
    return {seed: difference / decades for seed, difference in by_seed.items()}, [low, high]


def _mean(columns: Sequence[Mapping[int, float]], seed: int) -> float:
    return math.fsum(column[seed] for column in columns) / len(columns)


def least_squares_slope(points: Sequence[tuple[float, float]]) -> float:
    """Slope of the least squares line."""
    x, y = (math.fsum(values) / len(points) for values in zip(*points, strict=True))
    return math.fsum((a - x) * (b - y) for a, b in points) / math.fsum((a - x) ** 2 for a, _ in points)


def runs_used(
    results: Results, cells: Iterable[Mapping[str, str]], seeds: Collection[int] | None = None
) -> tuple[str, ...]:
    """Ids of the runs of some cells, of all seeds or some."""
    selected = (runs_of(results, cell) for cell in cells)
    return tuple(
        str(run)
        for each in selected
        for run, seed in zip(each["run_id"], each["seed"], strict=True)
        if seeds is None or seed in seeds
    )
