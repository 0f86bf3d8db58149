"""Leave out of a grid what the chosen model or task cannot be varied in, so that any grid takes any of them.

A grid is written for one model and task, and some of its levels are about them: another data set, a stage of SFT that
only the embedded model has. What is left out is said, level by level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from hydra.core.override_parser.types import Override

from subnetray.config import Factor, Grid
from subnetray.config.words import parse
from subnetray.grid.design import baseline
from subnetray.grid.settings import Keys, is_choice, key_of, level_overrides, text_of

_GROUPS = ("model", "task")


def fit(grid: Grid, command_line: Sequence[Override], recipe: Sequence[Override], keys: Keys) -> tuple[Grid, list[str]]:
    """Return the grid for the chosen model and task, and a sentence on each thing that it leaves out.

    The command line chooses; failing that the recipe, where no level does. A level is left out that chooses another
    model or task, or sets a key that the chosen one does not have; so is a factor of which one level remains. Of the
    baseline such a key is left out instead, as nothing else can be meant.
    """
    parsed_levels = level_overrides(grid)
    varied = {
        key_of(each) for by_level in parsed_levels.values() for overrides in by_level.values() for each in overrides
    }
    chosen = {key_of(each): each for each in recipe if key_of(each) in _GROUPS and key_of(each) not in varied}
    chosen |= {key_of(each): each for each in command_line if key_of(each) in _GROUPS}
    if not chosen:
        return grid, []
    known = keys(tuple(text_of(override) for override in chosen.values()))
    factors: dict[str, Factor] = {}
    left_out = []
    for name, parsed in parsed_levels.items():
        factor = grid.factors[name]
        if _is_baseline(chosen, parsed[factor.baseline]):
            factors[name] = factor
            continue
        levels, reasons = {}, {}
        for level, overrides in parsed.items():
            found = list(_misfits(overrides, chosen, known))
            lacks = [override for override, _ in found if not is_choice(override)]
            if found and (level != factor.baseline or len(lacks) < len(found)):
                reasons[level] = found[0][1]
            else:
                levels[level] = [text_of(override) for override in overrides if override not in lacks]
        if len(levels) < 2 <= len(factor.levels) or factor.baseline not in levels:
            left_out.append(f"the factor {name} is left out: {next(iter(reasons.values()))}")
            continue
        left_out += [f"{name}={level} is left out: {reason}" for level, reason in reasons.items()]
        factors[name] = dataclasses.replace(factor, levels=levels)
    kept, dropped = _common(grid.overrides, chosen, known)
    return _without(dataclasses.replace(grid, factors=factors, overrides=kept)), [*left_out, *dropped]


def drop(grid: Grid, cannot: Callable[[dict[str, str]], str | None]) -> tuple[Grid, list[str]]:
    """Return the grid without the levels that ``cannot`` be, all others at their baseline, and why, in sentences."""
    factors: dict[str, Factor] = {}
    left_out = []
    for name, factor in grid.factors.items():
        others = [level for level in factor.levels if level != factor.baseline]
        reasons = {level: reason for level in others if (reason := cannot(baseline(grid) | {name: level}))}
        left_out += [f"{name}={level} is left out: {reason}" for level, reason in reasons.items()]
        levels = {level: texts for level, texts in factor.levels.items() if level not in reasons}
        if len(levels) > 1 or not reasons:
            factors[name] = dataclasses.replace(factor, levels=levels)
    return _without(dataclasses.replace(grid, factors=factors)), left_out


def _is_baseline(chosen: Mapping[str, Override], baseline: Sequence[Override]) -> bool:
    """Whether a factor's baseline makes a choice that was made: its levels are about what was chosen."""
    return any(
        is_choice(own) and key_of(own) in chosen and chosen[key_of(own)].value() == own.value() for own in baseline
    )


def _misfits(
    overrides: Sequence[Override], chosen: Mapping[str, Override], known: frozenset[str]
) -> Iterator[tuple[Override, str]]:
    for override in overrides:
        key = key_of(override)
        choice = chosen.get(key.split(".")[0])
        if choice is None:
            continue
        if is_choice(override) and override.value() != choice.value():
            yield override, f"it has {text_of(override)}, and {text_of(choice)} is chosen"
        elif not is_choice(override) and key not in known:
            yield override, f"{text_of(choice)} has no {key}"


def _common(texts: Sequence[str], chosen: Mapping[str, Override], known: frozenset[str]) -> tuple[list[str], list[str]]:
    """What of ``grid.overrides`` holds for what was chosen, and what is left out; a choice of the grid's gives way."""
    misfits = {
        text_of(override): reason
        for override, reason in _misfits(parse(texts), chosen, known)
        if not is_choice(override)
    }
    kept = [text for text in texts if text not in misfits]
    return kept, [f"{text} of the grid is left out: {reason}" for text, reason in misfits.items()]


def _without(grid: Grid) -> Grid:
    """The design of a grid whose ``factors`` have lost some, or some of their levels."""
    crossed = [
        {
            name: [level for level in levels if level in grid.factors[name].levels]
            for name, levels in crossing.items()
            if name in grid.factors
        }
        for crossing in grid.crossed
    ]
    return dataclasses.replace(
        grid,
        one_at_a_time=[name for name in grid.one_at_a_time if name in grid.factors],
        crossed=[crossing for crossing in crossed if crossing],
        interactions=[pair for pair in grid.interactions if all(name in grid.factors for name in pair)],
    )
