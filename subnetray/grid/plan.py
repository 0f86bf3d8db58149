"""From a command line to the runs of a sweep, each with its identity, before any work starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from hydra.core.override_parser.types import Override

from subnetray.config import ConfigError, Grid, RunConfig, Subnetwork, SweepConfig
from subnetray.config.compose import GROUPS, Composer, parse
from subnetray.grid.checks import check_run
from subnetray.grid.design import baseline, describe, expand
from subnetray.grid.fitting import GROUPS_THAT_FIT, Fitting, drop, fit
from subnetray.grid.identity import run_id
from subnetray.grid.settings import (
    CellOverrides,
    common_overrides,
    concerns_run,
    key_of,
    recipe_overrides,
    resolve,
    text_of,
)
from subnetray.grid.sources import compose_source, mask_of, source_config

# Where the mask of an artifact is, by its name; the directory is that of prepared inits, None the user's own.
Fetch = Callable[[str, Path | None], Path]


@dataclass(frozen=True)
class Run:
    """One cell with one seed. ``cell`` has a level for every factor of the grid; a source that is no cell has none.

    ``source``: the id of the run that its mask is made of, if an arm names its mask.
    """

    run_id: str
    cell: dict[str, str]
    seed: int
    config: RunConfig
    source: str | None = None


@dataclass(frozen=True)
class Plan:
    """All runs of a grid: cell by cell, the baseline first, each cell's seeds in the grid's order.

    ``sources`` are the runs that others take masks from and that are no cells themselves. ``left_out``: sentences on
    what of the grid the chosen model and task cannot be varied in.
    """

    grid: Grid
    runs: tuple[Run, ...]
    sources: tuple[Run, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        """Name every run by its cell, in words; a source that is no cell after the first cell that takes its mask."""
        found = {run.run_id: describe(self.grid, run.cell) for run in self.runs}
        for run in self.runs:
            if run.source is not None:
                found.setdefault(run.source, f"the source of {found[run.run_id]}")
        return found


def plan(composer: Composer, overrides: Sequence[str], fetch: Fetch | None = None) -> tuple[SweepConfig, Plan]:
    """Return the sweep (its ``run`` is the baseline cell's) and its runs. Raises ConfigError with one sentence."""
    keys = cache(composer.keys)
    _check_types(overrides, keys)
    # Without what a run is: only with what the grid and its levels say as well does that make a whole.
    sweep = composer.sweep([text for text in overrides if not concerns_run(*parse([text]))])
    grid = sweep.grid
    if grid is None:
        raise ConfigError(f"no grid is named: write +grid=NAME with one of {', '.join(composer.choices('grid'))}")
    check_name(composer, overrides, grid.name, sweep.out)
    recipe = recipe_overrides(*composer.recipe(overrides), keys)
    grid, left_out = fit(grid, parse(overrides), recipe, keys)
    common = common_overrides(grid, overrides)
    if chosen := {key_of(each): text_of(each) for each in parse(overrides) if key_of(each) in GROUPS_THAT_FIT}:
        grid, cannot_be = drop(grid, Fitting(composer, grid, common, recipe, chosen))
        common = common_overrides(grid, overrides)
        left_out += cannot_be
    cells = expand(grid)
    settings = resolve(grid, cells, common, keys, recipe)
    configs = _configs(composer, grid, cells, settings)
    workers, sharded = max(1, sweep.cluster.workers), sweep.cluster.sharded
    check = partial(check_run, workers=workers, sharded=sharded)
    runs: list[Run] = []
    sources: dict[str, Run] = {}
    for cell, config in zip(cells, configs, strict=True):
        with _in_cell(grid, cell):
            config = _with_file(config, sweep, fetch)
            check(config)
            source = None
            if config.subnetwork.arm is not None:
                overrides_of_cell = CellOverrides(grid, cell, common, recipe)
                source = compose_source(composer, overrides_of_cell, config, check)
            for seed in grid.seeds:
                seeded, origin = dataclasses.replace(config, seed=seed), None
                if source is not None:
                    found = source_config(seeded, source)
                    origin = run_id(found, workers, sharded=sharded)
                    sources[origin] = Run(origin, {}, found.seed, found)
                runs.append(Run(run_id(seeded, workers, origin, sharded), cell, seed, seeded, origin))
    _check_distinct(grid, runs)
    own = {run.run_id for run in runs}
    others = tuple(run for run in sources.values() if run.run_id not in own)
    return dataclasses.replace(sweep, run=runs[0].config, grid=grid), Plan(grid, tuple(runs), others, tuple(left_out))


def check_name(composer: Composer, overrides: Sequence[str], name: str, out: str | None) -> None:
    """Raise ConfigError for a grid that keeps the name of another, in whose directory it would write."""
    (chosen,) = {str(each.value()) for each in parse(overrides) if key_of(each) == "grid"}
    if out is None and name != chosen and name in composer.choices("grid"):
        raise ConfigError(
            f"grid.name must be of +grid={chosen} alone, and {name} is another grid, whose directory outputs/{name} it"
            f" would write in: write name: {chosen} in its file, or name a directory by out="
        )


def _with_file(config: RunConfig, sweep: SweepConfig, fetch: Fetch | None) -> RunConfig:
    """The config with the file of the mask of the run, or of the artifact, that it names, if it names one."""
    run, artifact = config.subnetwork.run, config.subnetwork.artifact
    if artifact is not None:
        if fetch is None:
            raise ConfigError(
                f"subnetwork.mask={Subnetwork.ARTIFACT}… is fetched by a sweep or a run: name a file here"
            )
        mask = fetch(artifact, None if sweep.cache is None else Path(sweep.cache))
    elif run is not None:
        mask = mask_of(sweep.directory, run)
    else:
        return config
    return dataclasses.replace(config, subnetwork=dataclasses.replace(config.subnetwork, mask=str(mask)))


def _check_types(overrides: Sequence[str], keys: Callable[[Sequence[str]], frozenset[str]]) -> None:
    """Raise for values of a wrong type before asking what a factor varies: what is wrong anyway comes first.

    Keys that the default algorithm, model or task lacks are left out: cells may have them.
    """
    parsed = parse(overrides)
    known = keys(tuple(str(o.input_line) for o in parsed if o.key_or_group in GROUPS))
    keys(
        tuple(
            str(override.input_line)
            for override in parsed
            if override.key_or_group in known or not _is_run_value(override) or "." not in override.key_or_group
        )
    )


def _is_run_value(override: Override) -> bool:
    return concerns_run(override) and override.key_or_group not in GROUPS


def _configs(
    composer: Composer, grid: Grid, cells: Sequence[Mapping[str, str]], overrides: Sequence[Sequence[str]]
) -> list[RunConfig]:
    composed = composer.runs(overrides)
    configs = []
    for cell in cells:
        with _in_cell(grid, cell):
            configs.append(next(composed))
    return configs


@contextmanager
def _in_cell(grid: Grid, cell: Mapping[str, str]) -> Iterator[None]:
    """Name the cell in an error, unless it is the baseline: what is wrong there is wrong everywhere."""
    try:
        yield
    except ConfigError as error:
        if cell == baseline(grid):
            raise
        raise ConfigError(f"{error} (in the cell {describe(grid, cell)})") from error


def _check_distinct(grid: Grid, runs: Sequence[Run]) -> None:
    cells: dict[str, dict[str, str]] = {}
    for run in runs:
        first = cells.setdefault(run.run_id, run.cell)
        if first != run.cell:
            one, other = describe(grid, first), describe(grid, run.cell)
            raise ConfigError(
                f"grid.factors: the cells {one} and {other} are the same run: their levels must set different values"
            )
