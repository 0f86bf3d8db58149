"""From a grid's design to its cells: one factor at a time around the baseline, plus full crossings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from subnetray.config import ConfigError, Factor, Grid
from subnetray.store.columns import is_reserved


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
        for levels in itertools.product(*crossing.values()):
            yield base | dict(zip(crossing, levels, strict=True))


def _check(grid: Grid) -> None:
    if not re.fullmatch(r"\w[\w.-]*", grid.name):
        raise ConfigError(f"grid.name must be a name of letters, digits, _, - and ., not {grid.name!r}")
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


def _check_seeds(seeds: list[int]) -> None:
    if not seeds:
        raise ConfigError("grid.seeds must name at least one seed, as in grid.seeds=[0,1,2]")
    for seed in seeds:
        if not 0 <= seed < 2**31:
            raise ConfigError(f"grid.seeds must be whole numbers from 0 to 2147483647, not {seed}")
        if seeds.count(seed) > 1:
            raise ConfigError(f"grid.seeds must name each seed once, and names {seed} more than once")


def _check_factor(name: str, factor: Factor) -> None:
    key = f"grid.factors.{name}"
    if not name.isidentifier():
        raise ConfigError(f"{key}: a factor's name must be letters, digits and _, as it names a column of runs.parquet")
    if is_reserved(name):
        raise ConfigError(f"{key}: a factor must not be called {name}, which is another column of runs.parquet")
    if not factor.levels:
        raise ConfigError(f"{key}.levels must name at least one level")
    if factor.baseline not in factor.levels:
        raise ConfigError(f"{key}.baseline must be one of {', '.join(factor.levels)}, not {factor.baseline!r}")


def _find(grid: Grid, key: str, name: str) -> Factor:
    if name not in grid.factors:
        raise ConfigError(f"{key} names the factor {name}, which grid.factors lacks: it has {', '.join(grid.factors)}")
    return grid.factors[name]
