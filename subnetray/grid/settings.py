"""Which overrides a cell is composed from: the levels' own, and those that hold in every cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hydra.core.override_parser.types import Override, OverrideType

from subnetray.compose import GROUPS, RUN_KEYS, parse
from subnetray.config import ConfigError, Grid
from subnetray.grid.design import describe

# The keys of the config that a list of choices (model=..., algorithm=...) composes to.
Keys = Callable[[Sequence[str]], frozenset[str]]


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
        if _key(override) == "seed":
            raise ConfigError("seed is set by the grid: write grid.seeds=[0,1,2] instead")
    given = {_key(override) for override in parsed}
    common = [o for o in _parse("grid.overrides", grid.overrides) if _key(o) not in given] + parsed
    levels = level_overrides(grid)
    return [override for override in common if not _varied(grid, levels, override)]


def recipe_overrides(name: str, texts: Sequence[str], keys: Keys) -> list[Override]:
    """Parsed overrides of a recipe. Raises ConfigError for one that is none, or that the recipe's own run lacks."""
    recipe = _parse(f"recipe={name}", texts)
    known = keys(tuple(_text(override) for override in recipe if _is_choice(override)))
    for override in recipe:
        if not _is_choice(override) and _key(override) not in known:
            raise ConfigError(f"recipe={name}: there is no config key {_key(override)}")
    return recipe


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
    chosen = {_key(override): override.value() for override in recipe if _is_choice(override)}
    resolved = []
    known_somewhere: frozenset[str] = frozenset()
    for cell in cells:
        own = _merge(grid, cell, levels)
        said = [*common, *(override for override, _ in own.values())]
        choosing = {_key(o): o for o in (*recipe, *said) if _is_choice(o)}
        choices = {key: _text(override) for key, override in choosing.items()}
        known = keys(tuple(choices.values()))
        others = {group for group, name in chosen.items() if choosing[group].value() != name}
        skipped = {_key(override) for override in said}
        values = [
            _text(o)
            for o in recipe
            if _key(o) in known - skipped and not _is_choice(o) and _key(o).split(".")[0] not in others
        ]
        values += [_text(o) for o in common if not _is_choice(o) and _key(o) in known]
        for key, (override, source) in own.items():
            if _is_choice(override):
                continue
            if key not in known:
                raise ConfigError(_lacking(grid, cell, key, source, choices))
            values.append(_text(override))
        resolved.append([*choices.values(), *values])
        known_somewhere |= known
    for override in common:
        key = _key(override)
        if _is_choice(override) or key in known_somewhere:
            continue
        group = key.rpartition(".")[0]
        near = sorted(name.rpartition(".")[2] for name in known_somewhere if name.rpartition(".")[0] == group)
        raise ConfigError(f"there is no config key {key} in any cell of the grid: choose one of {', '.join(near)}")
    return resolved


def concerns_run(override: Override) -> bool:
    """Whether it is a run that an override says something of: a value, or which algorithm, model or task."""
    return _key(override).split(".")[0] in RUN_KEYS


def _parse(where: str, texts: Sequence[str]) -> list[Override]:
    try:
        overrides = parse(texts)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    for override in overrides:
        key = _key(override)
        if key == "seed":
            raise ConfigError(f"{where} must not set seed: seeds are the grid's own, grid.seeds")
        if not concerns_run(override):
            allowed = ", ".join(name for name in RUN_KEYS if name != "seed")
            raise ConfigError(f"{where} must set keys of a run ({allowed}), not {key}")
        if override.type != OverrideType.CHANGE:
            raise ConfigError(f"{where} must set keys as key=value, not {override.input_line}")
    return overrides


def _varied(grid: Grid, levels: dict[str, dict[str, list[Override]]], override: Override) -> bool:
    key = _key(override)
    for name, by_level in levels.items():
        if not any(key == _key(own) for overrides in by_level.values() for own in overrides):
            continue
        baseline = {_key(own): own.value() for own in by_level[grid.factors[name].baseline]}
        if _is_choice(override) and baseline.get(key) == override.value():
            return True
        raise ConfigError(
            f"{key} is what the factor {name} varies: set it there (grid.factors.{name}), not by {override.input_line}"
        )
    return False


def _merge(
    grid: Grid, cell: Mapping[str, str], levels: dict[str, dict[str, list[Override]]]
) -> dict[str, tuple[Override, str]]:
    """By key: the override that a level of the cell makes, and that level."""
    merged: dict[str, tuple[Override, str]] = {}
    for name, level in cell.items():
        source = f"{name}={level}"
        for override in levels[name][level]:
            key = _key(override)
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


def _key(override: Override) -> str:
    return str(override.key_or_group)


def _text(override: Override) -> str:
    return str(override.input_line)


def _is_choice(override: Override) -> bool:
    return _key(override) in GROUPS
