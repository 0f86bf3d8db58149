"""Fractions of crossings of two-level factors, and what they cannot tell apart.

A regular fraction of resolution IV tells main effects from two-factor interactions, but not all of those from each
other; one of resolution V tells all of them apart, if there are no interactions of three factors (G. Box and J. Hunter,
Technometrics 3, 1961). Designs and their aliases are pyDOE's.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from subnetray.config import ConfigError, Grid

RESOLUTIONS = {"resolution_iv": 4, "resolution_v": 5}
DESIGNS = ("full", *RESOLUTIONS)
_MOST_FACTORS = 16  # of a fraction: all their products are looked at

Crossing = Mapping[str, Sequence[str]]
Term = tuple[str, ...]  # factors: one of a main effect, two of an interaction


def treatments(grid: Grid, crossing: Crossing) -> list[str]:
    """The factors of a crossing whose effects are asked for, which are all but its blocks."""
    return [name for name in crossing if not grid.factors[name].block]


def check(grid: Grid) -> None:
    """Raise ConfigError, one sentence, for a design that is none or cannot tell what it is asked for."""
    if grid.design not in DESIGNS:
        raise ConfigError(f"grid.design must be one of {', '.join(DESIGNS)}, not {grid.design!r}")
    for crossing in grid.crossed if grid.design in RESOLUTIONS else ():
        _check_levels(grid, crossing)
    for asked in grid.interactions:
        _check_asked(grid, asked)


def size(grid: Grid, crossing: Crossing) -> int:
    """The number of a crossing's cells."""
    if grid.design not in RESOLUTIONS:
        counted: Sequence[str] = list(crossing)
        runs = 1
    else:
        counted = [name for name in crossing if grid.factors[name].block]
        runs = len(_matrix(grid, len(treatments(grid, crossing))))
    for name in counted:
        runs *= len(crossing[name])
    return runs


def cells(grid: Grid, crossing: Crossing) -> Iterator[dict[str, str]]:
    """The combinations of levels that a crossing has by the grid's design, in its order.

    The baseline's is among those of a fraction where the crossing names the baseline's levels.
    """
    if grid.design not in RESOLUTIONS:
        for levels in itertools.product(*crossing.values()):
            yield dict(zip(crossing, levels, strict=True))
        return
    names = treatments(grid, crossing)
    blocks = {name: crossing[name] for name in crossing if name not in names}
    order = {name: _from_baseline(grid, name, crossing[name]) for name in names}
    for row in _matrix(grid, len(names)):
        chosen = {name: order[name][0 if sign == 1 else 1] for name, sign in zip(names, row, strict=True)}
        for levels in itertools.product(*blocks.values()):
            both = chosen | dict(zip(blocks, levels, strict=True))
            yield {name: both[name] for name in crossing}


def aliases(grid: Grid, crossing: Crossing) -> list[tuple[Term, ...]]:
    """Groups of main effects and two-factor interactions that a crossing cannot tell apart; none of a full one."""
    names = treatments(grid, crossing)
    if grid.design not in RESOLUTIONS or len(names) < 2:
        return []
    found: dict[tuple[int, ...], list[Term]] = {}
    rows = _matrix(grid, len(names))
    for order in (1, 2):
        for columns in itertools.combinations(range(len(names)), order):
            product = [_product(row[column] for column in columns) for row in rows]
            # Terms that are each other's opposite are as little told apart as those that are equal.
            key = tuple(sign * product[0] for sign in product)
            found.setdefault(key, []).append(tuple(names[column] for column in columns))
    return [tuple(terms) for terms in found.values() if len(terms) > 1]


def in_words(term: Term) -> str:
    """Write a term as ``algorithm × learning_rate``."""
    return " × ".join(term)


def _matrix(grid: Grid, factors: int) -> list[tuple[int, ...]]:
    """Signs [cells, factors] of the smallest fraction, its first row all +1; all combinations where none is smaller."""
    if factors < 2:
        return list(itertools.product((1, -1), repeat=factors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pydoe  # here: it takes a second, which only fractions should cost

        matrix: Any = pydoe.fracfact_by_res(factors, RESOLUTIONS[grid.design])
    # Another sign of a column is another name of its levels: what is aliased with what stays.
    return [tuple(int(each) for each in row) for row in (matrix * matrix[0]).tolist()]


def _check_levels(grid: Grid, crossing: Crossing) -> None:
    names = treatments(grid, crossing)
    for name in names:
        if len(set(crossing[name])) != 2:
            raise ConfigError(
                f"grid.design={grid.design} needs two levels of each factor of a crossing, and grid.crossed has"
                f" {len(set(crossing[name]))} of {name}: name two, or choose grid.design=full"
            )
    if len(names) > _MOST_FACTORS:
        raise ConfigError(f"grid.design={grid.design} takes at most {_MOST_FACTORS} factors, and has {len(names)}")


def _check_asked(grid: Grid, asked: Sequence[str]) -> None:
    for name in asked:
        if name not in grid.factors:
            raise ConfigError(
                f"grid.interactions names the factor {name}, which grid.factors lacks: it has {', '.join(grid.factors)}"
            )
        if grid.factors[name].block:
            raise ConfigError(f"grid.interactions names {name}, whose levels are blocks, of which no effect is asked")
    if len(set(asked)) != 2 or len(asked) != 2:
        raise ConfigError(f"grid.interactions must name two different factors in each entry, not {list(asked)}")
    pair = set(asked)
    words = in_words(tuple(asked))
    inside = [crossing for crossing in grid.crossed if pair <= set(crossing)]
    if not inside:
        raise ConfigError(f"grid.interactions asks for {words}, which no entry of grid.crossed crosses")
    crossing = max(inside, key=lambda each: min(len(set(each[name])) for name in asked))
    for name in asked:
        if len(set(crossing[name])) < 2:
            raise ConfigError(f"grid.interactions asks for {words}, and grid.crossed has a single level of {name}")
    for group in aliases(grid, crossing):
        others = [term for term in group if set(term) != pair]
        if len(others) < len(group):
            raise ConfigError(
                f"grid.interactions asks for {words}, which grid.design={grid.design} cannot tell from"
                f" {' or '.join(map(in_words, others))}: choose resolution_v or full"
            )


def _from_baseline(grid: Grid, name: str, levels: Sequence[str]) -> list[str]:
    """The two levels, the baseline's first if it is one of them."""
    return sorted(dict.fromkeys(levels), key=lambda level: level != grid.factors[name].baseline)


def _product(signs: Iterator[int]) -> int:
    result = 1
    for sign in signs:
        result *= sign
    return result
