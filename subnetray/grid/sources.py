"""The source of a restricted run: the run that its mask is of, or is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.override_parser.types import Override, OverrideType

from subnetray import models
from subnetray.config import Algorithm, ConfigError, RunConfig, Subnetwork
from subnetray.config.compose import RUN_KEYS, Composer, parse
from subnetray.grid.settings import (
    CellOverrides,
    Keys,
    is_choice,
    key_of,
    level_overrides,
    merge_levels,
    recipe_values,
    text_of,
)
from subnetray.store import results

_KEY = "subnetwork.source"
# What a source of another algorithm has of the run that it is the source of, where it does not say otherwise.
_SHARED = {f"algorithm.{field.name}" for field in dataclasses.fields(Algorithm)}


def compose_source(
    composer: Composer, overrides: CellOverrides, config: RunConfig, check: Callable[[RunConfig], None]
) -> RunConfig:
    """What the sources of a cell's runs have in common: the cell of ``config`` with its ``subnetwork.source``.

    Raises ConfigError for overrides that are none of a run, for a source of another model, and what ``check`` raises
    for one that cannot be run.
    """
    own = _parse(config.subnetwork.source)
    with _in_source():
        composed = next(composer.runs([_overrides(overrides, composer.keys, own)]))
        check(composed)
    if models.model_key(composed.model) != models.model_key(config.model):
        raise ConfigError(f"{_KEY} must leave model alone: a mask is of the init that it was found on")
    if config.subnetwork.arm == "adam_v" and composed.algorithm.optimizer != "adamw":
        raise ConfigError(f"subnetwork.mask=adam_v needs a source with algorithm.optimizer=adamw: set it in {_KEY}")
    return composed


def source_config(config: RunConfig, composed: RunConfig) -> RunConfig:
    """The source of a run of ``config``, as ``composed`` by :func:`compose_source`: for the same seed or a higher.

    It keeps the scores that the run's arm goes by; raises ConfigError if it ends before.
    """
    wanted, measurement, steps = config.subnetwork, composed.measurement, composed.algorithm.steps
    early = measurement.early
    if wanted.at is not None and wanted.at > steps:
        raise ConfigError(f"subnetwork.at must be a step of the source, from 1 to {steps}, not {wanted.at}")
    if wanted.at is not None and wanted.at not in early:
        measurement = dataclasses.replace(measurement, early=tuple(sorted((*early, wanted.at))))
    return dataclasses.replace(
        composed, subnetwork=Subnetwork(), measurement=measurement, seed=config.seed + wanted.source_seed
    )


def beside(directory: Path, run_id: str) -> Iterator[Path]:
    """Yield where files of a run may lie: in the sweeps beside ``directory``, and among runs by themselves."""
    for place in _places(directory):
        yield from sorted(place.glob(f"*/runs/{run_id}"))


def mask_of(directory: Path, run_id: str) -> Path:
    """The mask of a finished run in a sweep :func:`beside`. Raises ConfigError that says where it looked."""
    found = next((place for place in beside(directory, run_id) if results.inspect(place).status == "done"), None)
    if found is None:
        places = " and ".join(f"{place}/*/runs" for place in _places(directory))
        raise ConfigError(f"subnetwork.mask: there is no finished run {run_id} in {places}: name its mask file instead")
    return found / results.MASK


def _places(directory: Path) -> Iterator[Path]:
    """Directories of sweeps' directories: runs by themselves have one of their own, ``train``."""
    root = directory.parent.parent if directory.parent.name == "train" else directory.parent
    yield from (root, root / "train")


def _overrides(of: CellOverrides, keys: Keys, own: Sequence[Override]) -> list[str]:
    """The overrides of a cell and ``own``, which count where both set a key.

    Where ``own`` chooses another algorithm (or task, ...), the cell's values for what it chose itself are left out,
    except for what all algorithms share: ``algorithm.beta`` of DPO is not that of GRPO. What holds in every cell of the
    grid that has its key holds in the source too.
    """
    common, recipe = of.common, of.recipe
    levels = [override for override, _ in merge_levels(of.grid, of.cell, level_overrides(of.grid)).values()]
    before = {key_of(o): o.value() for o in (*recipe, *common, *levels) if is_choice(o)}
    replaced = {key_of(o) for o in own if is_choice(o) and before.get(key_of(o)) != o.value()}
    choosing = {key_of(o): o for o in (*recipe, *common, *levels, *own) if is_choice(o)}
    choices = [text_of(override) for override in choosing.values()]
    known = keys(tuple(choices))
    for override in own:
        if not is_choice(override) and key_of(override) not in known:
            raise ConfigError(f"it sets {key_of(override)}, a key that it does not have")
    chosen_in_common = {key_of(o) for o in common if is_choice(o)}
    values = {key_of(o): text_of(o) for o in recipe_values(recipe, choosing, known)}
    for overrides, left in ((common, replaced & chosen_in_common), (levels, replaced), (own, set[str]())):
        for override in overrides:
            key = key_of(override)
            if not is_choice(override) and key in known and (key.split(".")[0] not in left or key in _SHARED):
                values[key] = text_of(override)
    return [*choices, *(text for key, text in values.items() if key.split(".")[0] != "subnetwork")]


@contextmanager
def _in_source() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{_KEY}: {error}") from error


def _parse(texts: Sequence[str]) -> list[Override]:
    with _in_source():
        overrides = parse(texts)
    for override in overrides:
        key = key_of(override)
        if key == "seed":
            raise ConfigError(f"{_KEY} must not set seed: subnetwork.source_seed is what the source's is higher by")
        group = key.split(".")[0]
        if group not in RUN_KEYS or group == "subnetwork" or override.type != OverrideType.CHANGE:
            allowed = ", ".join(name for name in RUN_KEYS if name not in ("seed", "subnetwork"))
            raise ConfigError(f"{_KEY} must set keys of a run ({allowed}) as key=value, not {override.input_line}")
    return overrides
