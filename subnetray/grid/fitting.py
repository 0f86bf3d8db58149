"""Leave out of a grid what the chosen model or task cannot be varied in, so that any grid takes any of them.

A grid is written for one model and task, and some of its levels are about them: another data set, a stage of SFT that
only the embedded model has. What is left out is said, level by level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hydra.core.override_parser.types import Override

from subnetray.config import ConfigError, Factor, Grid, RunConfig
from subnetray.config.compose import Composer
from subnetray.config.words import parse
from subnetray.grid.checks import check_offers
from subnetray.grid.design import baseline, expand
from subnetray.grid.identity import run_id
from subnetray.grid.settings import (
    CellOverrides,
    Keys,
    is_choice,
    key_of,
    level_overrides,
    resolve_cell,
    text_of,
)
from subnetray.grid.sources import compose_source

GROUPS_THAT_FIT = ("model", "task")


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
    chosen = {key_of(each): each for each in recipe if key_of(each) in GROUPS_THAT_FIT and key_of(each) not in varied}
    chosen |= {key_of(each): each for each in command_line if key_of(each) in GROUPS_THAT_FIT}
    if not chosen:
        return grid, []
    known = keys(tuple(text_of(override) for override in chosen.values()))
    factors: dict[str, Factor] = {}
    left_out = []
    kept, dropped = _common(grid.overrides, chosen, known)
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
            kept += _rest(parsed[factor.baseline], chosen, known)
            continue
        left_out += [f"{name}={level} is left out: {reason}" for level, reason in reasons.items()]
        factors[name] = dataclasses.replace(factor, levels=levels)
    return _without(dataclasses.replace(grid, factors=factors, overrides=kept), grid), [*left_out, *dropped]


def _rest(overrides: Sequence[Override], chosen: Mapping[str, Override], known: frozenset[str]) -> list[str]:
    """Return what of a baseline goes with what was chosen: without its factor it holds in every cell."""
    misfits = [override for override, _ in _misfits(overrides, chosen, known)]
    return [text_of(override) for override in overrides if override not in misfits]


@dataclass(frozen=True)
class Fitting:
    """Tells which cells of a grid cannot be with what a command line has ``chosen`` (model, task), in its words."""

    composer: Composer
    grid: Grid
    common: Sequence[Override]
    recipe: Sequence[Override]
    chosen: Mapping[str, str]

    def decides(self, key: str) -> bool:
        """Return whether what a level sets of a key decides whether its cells can be."""
        return key in ("algorithm", "algorithm.data", "subnetwork.source") or key.split(".")[0] in self.chosen

    def cannot(self, cell: dict[str, str]) -> str | None:
        """Say which training data of a cell its task lacks, or that it is the baseline; None if neither is so.

        What else may be wrong with it is no matter of the model or the task.
        """
        lacking: list[str] = []

        def look(config: RunConfig) -> None:
            try:
                check_offers(config)
            except ConfigError as error:
                lacking.append(str(error))

        try:
            config, base = self._compose(cell), self._compose(baseline(self.grid))
            look(config)
            if not lacking and config.subnetwork.arm is not None:
                compose_source(self.composer, self._of(cell), config, look)
        except ConfigError:
            pass
        else:
            if not lacking and self._is_about_chosen(cell) and _same_run(config, base):
                return f"with {' and '.join(self.chosen.values())} it is the baseline"
        return lacking[0] if lacking else None

    @cached_property
    def levels(self) -> dict[str, dict[str, list[Override]]]:
        """Return what each level of each factor sets."""
        return level_overrides(self.grid)

    def _is_about_chosen(self, cell: Mapping[str, str]) -> bool:
        varied = [name for name, level in cell.items() if level != self.grid.factors[name].baseline]
        return all(
            any(key_of(o).split(".")[0] in self.chosen for o in self.levels[name][cell[name]]) for name in varied
        )

    def _compose(self, cell: Mapping[str, str]) -> RunConfig:
        texts, _ = resolve_cell(self._of(cell), self.levels, self.composer.keys)
        return next(self.composer.runs([texts]))

    def _of(self, cell: Mapping[str, str]) -> CellOverrides:
        return CellOverrides(self.grid, cell, self.common, self.recipe)


def drop(grid: Grid, fitting: Fitting) -> tuple[Grid, list[str]]:
    """Return the grid without the levels that the chosen model or task cannot have, and a sentence on each.

    Where no level of a cell is wrong by itself, the one that chooses the training data goes. The baseline stays.
    """
    keys = {
        (name, level): {key_of(override) for override in overrides}
        for name, by_level in fitting.levels.items()
        for level, overrides in by_level.items()
    }
    deciding = {name for (name, _), own in keys.items() if any(map(fitting.decides, own))}
    base = baseline(grid)
    # Of a cell what it varies, by few levels first: what one of them cannot be by itself is said of it alone.
    varied = {
        tuple(each for each in cell.items() if each[0] in deciding and each[1] != base[each[0]])
        for cell in expand(grid)
    }
    reasons: dict[tuple[str, str], str] = {}
    for levels in sorted(varied - {()}, key=lambda each: (len(each), each)):
        why = None if reasons.keys() & set(levels) else fitting.cannot(base | dict(levels))
        if why is None:
            continue
        at_fault = [each for each in levels if "algorithm.data" in keys[each]] or levels
        others = ", ".join(f"{name}={level}" for name, level in levels if (name, level) != at_fault[-1])
        reasons[at_fault[-1]] = f"with {others}, {why}" if others else why
    factors, left_out, kept = {}, [], list(grid.overrides)
    for name, factor in grid.factors.items():
        left_out += [f"{name}={level} is left out: {why}" for (of, level), why in reasons.items() if of == name]
        levels_left = {level: texts for level, texts in factor.levels.items() if (name, level) not in reasons}
        if len(levels_left) > 1 or len(levels_left) == len(factor.levels):
            factors[name] = dataclasses.replace(factor, levels=levels_left)
        else:
            kept += factor.levels[factor.baseline]  # which holds in all cells that are left
    return _without(dataclasses.replace(grid, factors=factors, overrides=kept), grid), left_out


def _same_run(one: RunConfig, other: RunConfig) -> bool:
    # What an arm's mask is made of counts in a run's id, and is no part of its config.
    return one.subnetwork == other.subnetwork and run_id(one, 1) == run_id(other, 1)


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


def _without(grid: Grid, before: Grid) -> Grid:
    """The design of a grid whose ``factors`` have lost some that they had ``before``, or some of their levels."""
    crossed = []
    for crossing in before.crossed:
        left = {
            name: [level for level in levels if level in grid.factors[name].levels]
            for name, levels in crossing.items()
            if name in grid.factors
        }
        # What is no crossing to begin with stays, to be refused.
        if left and all(left[name] or not crossing[name] for name in left):
            crossed.append(left)
    return dataclasses.replace(
        grid,
        one_at_a_time=[name for name in before.one_at_a_time if name in grid.factors],
        crossed=crossed,
        interactions=[
            pair for pair in before.interactions if _crosses(crossed, pair) or not _crosses(before.crossed, pair)
        ],
    )


def _crosses(crossed: Sequence[Mapping[str, Sequence[str]]], pair: Sequence[str]) -> bool:
    return any(all(len(crossing.get(name, ())) > 1 for name in pair) for crossing in crossed)
