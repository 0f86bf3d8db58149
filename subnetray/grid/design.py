"""Expand a grid's design to its cells: one factor at a time around the baseline, crossings, or fractions of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from subnetray.config import ConfigError, Factor, Grid
from subnetray.config.checks import named
from subnetray.grid import fraction
from subnetray.store.columns import is_reserved

# Runs of one sweep: beyond it a design is one that was not meant.
_MOST_RUNS = 100_000
# What the name of a level holds besides letters and digits: it stands in columns, tables, figures and LaTeX.
_LEVEL = re.compile(r"[\w.+\-=,:;%()^@*≤≥ ]{1,60}")


def expand(grid: Grid) -> list[dict[str, str]]:
    """Return the cells, each a level for every factor: the baseline first, then in the design's order, each once.

    Raises ConfigError for a grid that is no design: its sentence names the key.
    """
    _check(grid)
    return [dict(cell) for cell in dict.fromkeys(tuple(cell.items()) for cell in _cells(grid))]


def baseline(grid: Grid) -> dict[str, str]:
    """The cell in which every factor has its baseline level."""
    return {name: factor.baseline for name, factor in grid.factors.items()}


def describe(grid: Grid, cell: Mapping[str, str]) -> str:
    """The cell in words: what it varies, as in ``method=sft_gold, kl=0.1``, or ``baseline``."""
    varied = [f"{name}={level}" for name, level in cell.items() if level != grid.factors[name].baseline]
    return ", ".join(varied) or "baseline"


def _cells(grid: Grid) -> Iterator[dict[str, str]]:
    base = baseline(grid)
    yield base
    for name in grid.one_at_a_time:
        yield from (base | {name: level} for level in grid.factors[name].levels)
    for crossing in grid.crossed:
        yield from (base | levels for levels in fraction.cells(grid, crossing))


def _check(grid: Grid) -> None:
    named("grid.name", grid.name)
    _check_seeds(grid.seeds)
    for name, factor in grid.factors.items():
        _check_factor(name, factor)
    for name in grid.one_at_a_time:
        _find(grid, "grid.one_at_a_time", name)
    for crossing in grid.crossed:
        if not crossing:
            raise ConfigError("grid.crossed must name at least one factor in each crossing")
        for name, levels in crossing.items():
            factor = _find(grid, "grid.crossed", name)
            if not levels:
                raise ConfigError(f"grid.crossed must name at least one level of {name}")
            for level in levels:
                if level not in factor.levels:
                    raise ConfigError(
                        f"grid.crossed: {name} has no level {level!r}, choose from {', '.join(factor.levels)}"
                    )
    fraction.check(grid)
    _check_size(grid)


def _check_size(grid: Grid) -> None:
    cells = 1 + sum(len(grid.factors[name].levels) for name in grid.one_at_a_time)
    cells += sum(fraction.size(grid, crossing) for crossing in grid.crossed)
    if cells * len(grid.seeds) > _MOST_RUNS:
        raise ConfigError(
            f"grid has {cells} cells and {len(grid.seeds)} seeds, and a sweep at most {_MOST_RUNS} runs: cross fewer"
            " factors in grid.crossed"
        )


def _check_seeds(seeds: list[int]) -> None:
    if not seeds:
        raise ConfigError("grid.seeds must name at least one seed, as in grid.seeds=[0,1,2]")
    for seed in seeds:
        if not 0 <= seed < 2**31:
            raise ConfigError(f"grid.seeds must be whole numbers from 0 to 2147483647, not {seed}")
    for seed, count in Counter(seeds).items():
        if count > 1:
            raise ConfigError(f"grid.seeds must name each seed once, and names {seed} more than once")


def _check_factor(name: str, factor: Factor) -> None:
    key = f"grid.factors.{name}"
    if not name.isidentifier() or len(name) > 60:
        raise ConfigError(f"{key}: a factor's name must be letters, digits and _, as it names a column of runs.parquet")
    if is_reserved(name):
        raise ConfigError(f"{key}: a factor must not be called {name}, which is another column of runs.parquet")
    if not factor.levels:
        raise ConfigError(f"{key}.levels must name at least one level")
    for level in factor.levels:
        if not _LEVEL.fullmatch(level) or level != level.strip() or level.startswith("."):
            raise ConfigError(
                f"{key}.levels: a level's name must have at most 60 letters, digits and characters of _.+-=,:;%()^@*,"
                f" and begin with no dot, not {level!r}"
            )
    if factor.baseline not in factor.levels:
        raise ConfigError(f"{key}.baseline must be one of {', '.join(factor.levels)}, not {factor.baseline!r}")


def _find(grid: Grid, key: str, name: str) -> Factor:
    if name not in grid.factors:
        raise ConfigError(f"{key} names the factor {name}, which grid.factors lacks: it has {', '.join(grid.factors)}")
    return grid.factors[name]
