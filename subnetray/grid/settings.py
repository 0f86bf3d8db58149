"""Which overrides a cell is composed from: the levels' own, and those that hold in every cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import Override, OverrideType

from subnetray.config import ConfigError, Grid
from subnetray.config.compose import RUN_KEYS
from subnetray.config.words import GROUPS, parse
from subnetray.grid.design import describe

# The keys of the config that a list of choices (model=..., algorithm=...) composes to.
Keys = Callable[[Sequence[str]], frozenset[str]]


@dataclass(frozen=True)
class CellOverrides:
    """The overrides that make a cell: its levels, what all cells have in ``common``, and those of the ``recipe``."""

    grid: Grid
    cell: Mapping[str, str]
    common: Sequence[Override]
    recipe: Sequence[Override]


def level_overrides(grid: Grid) -> dict[str, dict[str, list[Override]]]:
    """Parsed overrides by factor and level. Raises ConfigError for one that is none, or that a run does not have."""
    return {
        name: {level: _parse(f"grid.factors.{name}.levels.{level}", texts) for level, texts in factor.levels.items()}
        for name, factor in grid.factors.items()
    }


def common_overrides(grid: Grid, command_line: Sequence[str]) -> list[Override]:
    """What holds in every cell: of ``grid.overrides`` and the command line, the latter last, what concerns a run.

    Raises ConfigError where one of them sets what a factor varies: whose value should count would be a guess. A choice
    that is the one of the factor's baseline contradicts nothing and is left to the levels.
    """
    parsed = [override for override in parse(command_line) if concerns_run(override)]
    for override in parsed:
        if key_of(override) == "seed":
            raise ConfigError("seed is set by the grid: write grid.seeds=[0,1,2] instead")
    given = {key_of(override) for override in parsed}
    common = [o for o in _parse("grid.overrides", grid.overrides) if key_of(o) not in given] + parsed
    levels = level_overrides(grid)
    return [override for override in common if not _varied(grid, levels, override)]


def recipe_overrides(name: str, texts: Sequence[str], keys: Keys) -> list[Override]:
    """Parsed overrides of a recipe. Raises ConfigError for one that is none, or that the recipe's own run lacks."""
    recipe = _parse(f"recipe={name}", texts)
    known = keys(tuple(text_of(override) for override in recipe if is_choice(override)))
    for override in recipe:
        if not is_choice(override) and key_of(override) not in known:
            raise ConfigError(f"recipe={name}: there is no config key {key_of(override)}")
    return recipe


def recipe_values(
    recipe: Sequence[Override], choosing: Mapping[str, Override], known: frozenset[str]
) -> list[Override]:
    """What of a recipe holds for a run of the choices ``choosing``, by group, and the keys ``known``: its values.

    What it says of an algorithm, a model or a task is for runs that have this one.
    """
    others = {key_of(o) for o in recipe if is_choice(o) and choosing[key_of(o)].value() != o.value()}
    return [o for o in recipe if not is_choice(o) and key_of(o) in known and key_of(o).split(".")[0] not in others]


def resolve(
    grid: Grid,
    cells: Sequence[Mapping[str, str]],
    common: Sequence[Override],
    keys: Keys,
    recipe: Sequence[Override] = (),
) -> list[list[str]]:
    """Return the overrides of every cell, choices first.

    A value in ``common`` goes to the cells that have its key (``algorithm.group_size`` is GRPO's alone); raises
    ConfigError if no cell has it, if a level sets a key that its cell lacks, or if two levels of a cell disagree.

    ``recipe`` holds where nothing else is said: ``common`` and levels come before it, and what it says of an algorithm,
    a model or a task is for the cells that have this one.
    """
    levels = level_overrides(grid)
    resolved = []
    known_somewhere: frozenset[str] = frozenset()
    for cell in cells:
        texts, known = resolve_cell(CellOverrides(grid, cell, common, recipe), levels, keys)
        resolved.append(texts)
        known_somewhere |= known
    for override in common:
        key = key_of(override)
        if is_choice(override) or key in known_somewhere or _of_no_choice(override):
            continue
        group = key.rpartition(".")[0]
        near = sorted(name.rpartition(".")[2] for name in known_somewhere if name.rpartition(".")[0] == group)
        raise ConfigError(f"there is no config key {key} in any cell of the grid: choose one of {', '.join(near)}")
    return resolved


def resolve_cell(
    of: CellOverrides, levels: dict[str, dict[str, list[Override]]], keys: Keys
) -> tuple[list[str], frozenset[str]]:
    """Return the overrides of a cell, choices first, and the keys that it has; as :func:`resolve` does of each."""
    own = merge_levels(of.grid, of.cell, levels)
    said = [*of.common, *(override for override, _ in own.values())]
    choosing = {key_of(o): o for o in (*of.recipe, *said) if is_choice(o)}
    choices = {key: text_of(override) for key, override in choosing.items()}
    known = keys(tuple(choices.values()))
    skipped = {key_of(override) for override in said}
    values = [text_of(o) for o in recipe_values(of.recipe, choosing, known) if key_of(o) not in skipped]
    values += [text_of(o) for o in of.common if not is_choice(o) and key_of(o) in known]
    for key, (override, source) in own.items():
        if is_choice(override):
            continue
        if key not in known:
            if _of_no_choice(override):
                continue
            raise ConfigError(_lacking(of.grid, of.cell, key, source, choices))
        values.append(text_of(override))
    return [*choices.values(), *values], known


def _of_no_choice(override: Override) -> bool:
    """Return whether an override holds without being said where its key is not there.

    An algorithm that has no choice trains on what its policy samples.
    """
    return key_of(override) == "algorithm.data" and override.value() == "in_distribution"


def concerns_run(override: Override) -> bool:
    """Return whether it is a run that an override says something of: a value, or which algorithm, model or task."""
    return key_of(override).split(".")[0] in RUN_KEYS


def _parse(where: str, texts: Sequence[str]) -> list[Override]:
    try:
        overrides = parse(texts)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    for override in overrides:
        key = key_of(override)
        if key == "seed":
            raise ConfigError(f"{where} must not set seed: seeds are the grid's own, grid.seeds")
        if not concerns_run(override):
            allowed = ", ".join(name for name in RUN_KEYS if name != "seed")
            raise ConfigError(f"{where} must set keys of a run ({allowed}), not {key}")
        if override.type != OverrideType.CHANGE:
            raise ConfigError(f"{where} must set keys as key=value, not {override.input_line}")
    return overrides


def _varied(grid: Grid, levels: dict[str, dict[str, list[Override]]], override: Override) -> bool:
    key = key_of(override)
    for name, by_level in levels.items():
        if not any(key == key_of(own) for overrides in by_level.values() for own in overrides):
            continue
        baseline = {key_of(own): own.value() for own in by_level[grid.factors[name].baseline]}
        if is_choice(override) and baseline.get(key) == override.value():
            return True
        raise ConfigError(
            f"{key} is what the factor {name} varies: set it there (grid.factors.{name}), not by {override.input_line}"
        )
    return False


def merge_levels(
    grid: Grid, cell: Mapping[str, str], levels: dict[str, dict[str, list[Override]]]
) -> dict[str, tuple[Override, str]]:
    """By key: the override that a level of the cell makes, and that level."""
    merged: dict[str, tuple[Override, str]] = {}
    for name, level in cell.items():
        source = f"{name}={level}"
        for override in levels[name][level]:
            key = key_of(override)
            if key in merged and merged[key][0].value() != override.value():
                first = merged[key][1]
                both = source if first == source else f"{first} and {source}"
                raise ConfigError(
                    f"{key} is set to {merged[key][0].value()} and to {override.value()} by {both}: "
                    f"one level of a cell may set it (in the cell {describe(grid, cell)})"
                )
            merged.setdefault(key, (override, source))
    return merged


def _lacking(grid: Grid, cell: Mapping[str, str], key: str, source: str, choices: Mapping[str, str]) -> str:
    group = key.split(".")[0]
    owner = choices.get(group, f"the default {group}") if group in GROUPS else "a run"
    return f"{source} sets {key}, a key that {owner} does not have (in the cell {describe(grid, cell)})"


def key_of(override: Override) -> str:
    return str(override.key_or_group)


def text_of(override: Override) -> str:
    return str(override.input_line)


def is_choice(override: Override) -> bool:
    return key_of(override) in GROUPS
