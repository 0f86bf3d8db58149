"""Hydra composition: override strings in, frozen dataclasses out, every mistake one sentence.

``@hydra.main`` is not used: the commands compose many cells a process, exit with 2 on bad input, and keep Hydra's
working-directory and logging side effects out. Hydra chooses and merges files; values are set here, as Hydra sets them.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from subnetray import config as schema
from subnetray.config import (
    ADDED_ALGORITHMS,
    ALGORITHMS,
    MODELS,
    TASKS,
    ConfigError,
    PairsConfig,
    RunConfig,
    SweepConfig,
    documents,
)
from subnetray.config.explain import explain
from subnetray.config.hints import COMMAND, Hints, below, hints_at, misfit, misfit_of_all
from subnetray.config.words import GROUPS, hydra_text, parse

__all__ = ["GROUPS", "RUN_KEYS", "Composer", "explain", "parse"]

# Those without a default, which a command line adds.
_ADDED = ("grid", "recipe")

_SECTIONS = ("model", "task", "algorithm", "rollout", "evaluation", "measurement", "subnetwork")
RUN_KEYS = (*_SECTIONS, "precision", "seed")
# The files in conf/ that a command line starts from, and their keys: a sweep of runs, or a comparison of pairs.
_SWEEP, _PAIRS = "config", "checkpoints"
_WHERE_KEYS = ("grid", "recipe", "cluster", "tracking", "out", "cache", "store")
_HOW_KEYS = ("checkpoint", "report", "dry_run", "resume", "on_failed_runs")
_ROOT_KEYS = {
    _SWEEP: frozenset((*RUN_KEYS, *_WHERE_KEYS, *_HOW_KEYS)),
    _PAIRS: frozenset(each.name for each in dataclasses.fields(PairsConfig)),
}
_BASES: dict[str, tuple[type, ...]] = {
    "model": MODELS,
    "task": TASKS,
    "algorithm": tuple(ALGORITHMS.values()),
    "rollout": (schema.Rollout,),
    "cluster": (schema.Cluster,),
    "tracking": (schema.Tracking,),
}
# By group: the schemas that a file of it begins with, by name.
SCHEMAS: dict[str, dict[str, type]] = {
    "model": {
        "schema_embedded": schema.EmbeddedModel,
        "schema_pretrained": schema.PretrainedModel,
        "schema_smollm2": schema.SmolLM2Model,
    },
    "task": {
        "schema_arithmetic": schema.ArithmeticTask,
        "schema_reasoning_gym": schema.ReasoningGymTask,
        "schema_dataset": schema.DatasetTask,
    },
    # Those of other packages have no file in conf/, and are chosen as their schema is.
    "algorithm": {f"schema_{name}": kind for name, kind in ALGORITHMS.items()} | ADDED_ALGORITHMS,
    "rollout": {"schema_rollout": schema.Rollout},
    "cluster": {"schema_cluster": schema.Cluster},
    "tracking": {"schema_tracking": schema.Tracking},
}


def _register() -> None:
    store = ConfigStore.instance()
    root = {
        **dict.fromkeys(SCHEMAS, MISSING),
        "evaluation": _structured(schema.Evaluation),
        "measurement": _structured(schema.Measurement),
        "subnetwork": _structured(schema.Subnetwork),
        "checkpoint": _structured(schema.Checkpointing),
        "report": _structured(schema.Reporting),
    }
    store.store(name="schema", node=root)
    for group, kinds in SCHEMAS.items():
        for name, kind in kinds.items():
            store.store(group=group, name=name, node=_structured(kind))


def _structured(schema_class: type) -> DictConfig:
    """A node of a frozen dataclass that can still be written to: composing is not done yet."""
    node: DictConfig = OmegaConf.structured(schema_class)
    OmegaConf.set_readonly(node, None)
    return node


_register()

# What choices of our own files compose to, which is the same for every command line of a process.
_COMPOSED: dict[tuple[str, ...], DictConfig] = {}


class Composer:
    """Composes configs from ``conf/`` (and ``config_dir``, a user's own directory of the same layout)."""

    def __init__(self, config_dir: Path | None = None) -> None:
        if config_dir is not None and not os.path.isdir(config_dir):  # noqa: PTH112 - Path.is_dir raises for some
            raise ConfigError(f"--config-dir must be a directory of the layout of conf/, and {config_dir} is none")
        self._config_dir = config_dir
        self._composed: dict[tuple[str, ...], DictConfig] = _COMPOSED if config_dir is None else {}
        self._ours = {group: documents.names_in(files("subnetray.conf") / group) for group in GROUPS}
        self._ours["algorithm"] |= set(ADDED_ALGORITHMS)
        self._theirs = {
            group: set[str]() if config_dir is None else documents.names_in(config_dir / group) for group in GROUPS
        }

    def sweep(self, overrides: Sequence[str]) -> SweepConfig:
        """The whole config of a command line. Raises ConfigError with one sentence."""
        with _one_sentence():
            node = self._compose(overrides)
            return SweepConfig(
                run=_run(node),
                grid=_grid(node),
                **{key: _typed(key, node[key]) for key in ("cluster", "tracking", "checkpoint", "report")},
                out=_text(node, "out"),
                cache=_text(node, "cache"),
                store=_text(node, "store"),
                dry_run=node.dry_run,
                resume=_text(node, "resume") or "",
                on_failed_runs=_text(node, "on_failed_runs") or "",
            )

    def pairs(self, overrides: Sequence[str]) -> PairsConfig | None:
        """The whole config of a command line whose grid is one of pairs of checkpoints; None if it is not.

        Raises ConfigError with one sentence.
        """
        with _one_sentence():
            grid = [str(each.input_line) for each in parse(overrides) if each.key_or_group == "grid"]
            if not grid or "pairs" not in (self._compose(grid, _PAIRS).get("grid") or {}):
                return None
            return _pairs(self._compose(overrides, _PAIRS))

    def recipe(self, overrides: Sequence[str]) -> tuple[str, list[str]]:
        """Name and overrides of the recipe that a command line adds; ``""`` and none without.

        Raises ConfigError with one sentence.
        """
        with _one_sentence():
            chosen = [each for each in parse(overrides) if each.key_or_group.split(".")[0] == "recipe"]
            if not chosen:
                return "", []
            node = self._compose([str(each.input_line) for each in chosen])
            name, content = str(chosen[0].value()), _typed("recipe", node.recipe)
            texts = content.get("overrides")
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ConfigError(f"recipe={name} must have overrides: a list of overrides in quotes, not {texts!r}")
            if odd := content.keys() - {"about", "overrides"}:
                raise ConfigError(f"recipe={name} has the key {min(odd)}: choose one of about, overrides")
            return name, texts

    def runs(self, overrides: Sequence[Sequence[str]]) -> Iterator[RunConfig]:
        """One run config for each list of overrides. Raises ConfigError with one sentence."""
        for each in overrides:
            with _one_sentence():
                config = _run(self._compose(each))
            yield config

    def keys(self, overrides: Sequence[str]) -> frozenset[str]:
        """Every key of the config that ``overrides`` compose to, as in ``algorithm.lr``."""
        with _one_sentence():
            return frozenset(_keys(self._compose(overrides), ""))

    def choices(self, group: str) -> list[str]:
        """Names of the configs of a group that a command line can choose from."""
        return sorted(self._ours[group] | self._theirs[group])

    def _compose(self, overrides: Sequence[str], root: str = _SWEEP) -> DictConfig:
        parsed = parse(overrides)
        for group in _ADDED:
            said = [each for each in parsed if each.key_or_group == group]
            if len(said) > 1:
                raise ConfigError(f"{said[-1].input_line}: write +{group}=NAME once, with {self._names(group)}")
        for override in parsed:
            self._check(override)
        # Hydra composes from scratch in 50 ms, and the cells of a grid share few sets of choices.
        choices = [override for override in parsed if override.key_or_group in GROUPS]
        key = (root, *(str(override.input_line) for override in choices))
        if key not in self._composed:
            self._composed[key] = self._compose_choices(root, choices)
        node = copy.deepcopy(self._composed[key])
        for override in parsed:
            if override.key_or_group not in GROUPS:
                _set(node, override)
        return node

    def _compose_choices(self, root: str, choices: Sequence[Override]) -> DictConfig:
        GlobalHydra.instance().clear()
        for choice in choices:
            # Hydra itself would advise to add it.
            if choice.key_or_group not in _ROOT_KEYS[root]:
                known = ", ".join(sorted(_ROOT_KEYS[root]))
                raise ConfigError(f"there is no config key {choice.key_or_group}: choose one of {known}")
            self._register(choice.key_or_group, str(choice.value()))
        with hydra.initialize_config_module("subnetray.conf", version_base="1.3"):
            node = hydra.compose(root, overrides=[hydra_text(override) for override in choices])
        for key in map(str, node):
            if key not in _ROOT_KEYS[root]:
                raise ConfigError(f"there is no config key {key}: choose one of {', '.join(sorted(_ROOT_KEYS[root]))}")
        for group, kinds in _BASES.items():
            if group in node and OmegaConf.get_type(node[group]) not in kinds:
                names = ", ".join(SCHEMAS[group])
                raise ConfigError(
                    f"{group}: its file must begin with defaults: [SCHEMA, _self_], where SCHEMA is one of {names} or"
                    " another file of the group"
                )
        if isinstance(parameters := OmegaConf.select(node, "task.parameters"), DictConfig):
            OmegaConf.set_struct(parameters, False)  # what a generator takes, it alone knows
        return node

    def _register(self, group: str, name: str, above: tuple[str, ...] = ()) -> None:
        """Have Hydra find the user's file of a choice, if it is one, and those that it begins with: it reads none.

        What is found stays, for Hydra has no word to take it back; every choice of a file registers it anew.
        """
        if self._config_dir is None or name not in self._theirs[group]:
            return
        path = self._config_dir / group / f"{name}.yaml"
        if name in self._ours[group] or name in SCHEMAS.get(group, {}):
            raise ConfigError(f"{path} has the name of a config of subnetray itself: call it otherwise")
        if name in above:
            raise ConfigError(f"{path} begins with itself: its defaults must name other files")
        names = self._ours[group] | self._theirs[group] | set(SCHEMAS.get(group, ()))
        content = documents.read(path, group, names)
        for key, value in _plain(content).items() if group not in _ADDED else ():  # those are looked at later
            if problem := misfit_of_all(f"{group}.{key}", value, hints_at(COMMAND, [group, str(key)])):
                raise ConfigError(problem)
        ConfigStore.instance().store(group=group, name=name, node=content, package=group)
        for entry in content.get("defaults", ()):
            self._register(group, entry, (*above, name))

    def _check(self, override: Override) -> None:
        """Raise for what Hydra would accept in silence, or reject in words that help nobody here."""
        group = override.key_or_group
        if override.package is not None or group.split(".")[0] == "hydra":
            raise ConfigError(f"there is no config key {group}: Hydra itself is not configured here")
        if group.startswith("recipe."):
            raise ConfigError(f"{override.input_line}: write +recipe=NAME once, with {self._names('recipe')}")
        if group not in GROUPS:
            return
        sign = "+" if group in _ADDED else ""
        if override.is_delete() or not override.value():
            raise ConfigError(f"{override.input_line}: write {sign}{group}=NAME with {self._names(group)}")
        name = str(override.value())
        if name not in self._ours[group] | self._theirs[group]:
            raise ConfigError(f"{group}={name} is unknown: choose {self._names(group)}")
        wanted = OverrideType.ADD if sign else OverrideType.CHANGE
        if override.type != wanted:
            raise ConfigError(f"{override.input_line} must be written {sign}{group}={name}")

    def _names(self, group: str) -> str:
        return f"one of {', '.join(self.choices(group))}"


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error
    except RecursionError as error:
        raise ConfigError("the config is nested too deeply: write it flat") from error


def _set(node: DictConfig, override: Override) -> None:
    """Change, add or delete a value. Only what a grid or a generator names itself is added or deleted."""
    key, value = override.key_or_group, override.value()
    above, _, name = key.rpartition(".")
    if override.type == OverrideType.CHANGE:
        # What a grid's file leaves out has a default all the same.
        own = above == "grid" and bool(hints_at(COMMAND, ["grid", name])) and node.get("grid") is not None
        _fit(node, key, value)
        OmegaConf.update(node, key, value, merge=True, force_add=own)
        return
    parent = OmegaConf.select(node, above) if above else node
    names = [str(each) for each in parent] if isinstance(parent, DictConfig) else []
    free = (
        isinstance(parent, DictConfig)
        and parent is not node
        and not dataclasses.is_dataclass(OmegaConf.get_type(parent))
    )
    if override.type == OverrideType.DEL:
        if name not in names:
            raise ConfigError(f"there is no config key {key} to delete")
        if not free:
            raise ConfigError(f"{override.input_line}: {key} always has a value: write {key}=value")
        with open_dict(parent):
            del parent[name]
        return
    if name in names and override.type == OverrideType.ADD:
        raise ConfigError(f"{key} has a value already: write {key}=value, without +")
    if name not in names and not free:
        known = f": choose one of {', '.join(sorted(names))}" if names else ""
        raise ConfigError(f"there is no config key {key}{known}")
    _fit(node, key, value)
    OmegaConf.update(node, key, value, merge=True, force_add=True)


def _fit(node: DictConfig, key: str, value: object) -> None:
    """Raise ConfigError unless ``value`` is of ``key``'s type, in our words: OmegaConf's change with its version."""
    above, _, name = key.rpartition(".")
    holder = OmegaConf.select(node, above) if above else node
    kind = OmegaConf.get_type(holder) if isinstance(holder, DictConfig) else None
    # What is no table of a schema is looked at elsewhere: a key that is not there, and a grid's own names.
    hints: Hints = below(kind, name) if dataclasses.is_dataclass(kind) else () if above else hints_at(COMMAND, [name])
    if (problem := misfit_of_all(key, value, hints)) is not None:
        raise ConfigError(problem)


def _plain(node: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(node)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _grid(node: DictConfig) -> schema.Grid | None:
    if node.get("grid") is None:
        return None
    # The node of a frozen Factor is read-only: give each factor one that is not, so that its values can be merged in.
    holder = OmegaConf.create({"grid": _structured(schema.Grid)})
    factors = OmegaConf.select(node, "grid.factors")
    if OmegaConf.is_list(node.grid) or OmegaConf.is_list(factors):
        raise ConfigError("grid.factors must be a table of keys, each the name of a factor")
    for name, factor in factors.items() if isinstance(factors, DictConfig) else ():
        if not isinstance(factor, DictConfig):
            raise ConfigError(f"grid.factors.{name!s} must be a table of about, baseline and levels, not {factor!r}")
        holder.grid.factors[name] = _structured(schema.Factor)
    if (problem := misfit("grid", _plain(node.grid), schema.Grid)) is not None:
        raise ConfigError(problem)
    return _typed("grid", OmegaConf.merge(holder, {"grid": node.grid}).grid)


def _pairs(node: DictConfig) -> PairsConfig:
    # As for the factors of a grid: the nodes of frozen dataclasses, made writable one by one.
    whole = _structured(PairsConfig)
    whole.grid = _structured(schema.PairGrid)
    pairs = OmegaConf.select(node, "grid.pairs")
    if OmegaConf.is_list(pairs):
        raise ConfigError("grid.pairs must be a table of keys, each the name of a pair")
    for name, pair in pairs.items() if isinstance(pairs, DictConfig) else ():
        if not isinstance(pair, DictConfig):
            raise ConfigError(f"grid.pairs.{name!s} must be a table of init and final, not {pair!r}")
        whole.grid.pairs[name] = _structured(schema.CheckpointPair)
    if isinstance(node.get("grid"), DictConfig):
        problem = misfit("grid", _plain(node.grid), schema.PairGrid)
        if problem is not None:
            raise ConfigError(problem)
    return _typed("", OmegaConf.merge(whole, node))


def _keys(node: DictConfig, prefix: str) -> Iterator[str]:
    for key in map(str, node):
        yield f"{prefix}{key}"
        child = None if OmegaConf.is_missing(node, key) else node[key]
        if isinstance(child, DictConfig):
            yield from _keys(child, f"{prefix}{key}.")


def _run(node: DictConfig) -> RunConfig:
    for key in _SECTIONS:
        if not OmegaConf.is_dict(node[key]):
            raise ConfigError(f"{key} must be a table of keys, not {node[key]!r}")
    values = {key: _typed(key, node[key]) for key in RUN_KEYS}
    return RunConfig(**values)


def _typed(key: str, node: Any) -> Any:
    """The dataclass of the node at ``key``. OmegaConf checks elements of lists one by one, but takes lists for them."""
    if not OmegaConf.is_config(node):
        return node
    kind = OmegaConf.get_type(node)
    if dataclasses.is_dataclass(kind) and (problem := misfit(key, OmegaConf.to_container(node), kind)) is not None:
        raise ConfigError(problem.removeprefix("."))
    return OmegaConf.to_object(node)


def _text(node: DictConfig, key: str) -> str | None:
    return None if node[key] is None else str(node[key])
