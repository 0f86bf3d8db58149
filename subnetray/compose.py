"""Hydra composition: override strings in, frozen dataclasses out, every mistake one sentence.

``@hydra.main`` is not used: the commands compose many cells a process, exit with 2 on bad input, and keep Hydra's
working-directory and logging side effects out.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, KeyValidationError, OmegaConfBaseException
from yaml import YAMLError

from subnetray import config as schema
from subnetray.config import ConfigError, PairsConfig, RunConfig, SweepConfig

GROUPS = ("algorithm", "cluster", "grid", "model", "recipe", "rollout", "task", "tracking")
# Those without a default, which a command line adds.
_ADDED = ("grid", "recipe")

_SECTIONS = ("model", "task", "algorithm", "rollout", "evaluation", "measurement", "subnetwork")
RUN_KEYS = (*_SECTIONS, "precision", "seed")
# The files in conf/ that a command line starts from, and their keys: a sweep of runs, or a comparison of pairs.
_SWEEP, _PAIRS = "config", "checkpoints"
_ROOT_KEYS = {
    _SWEEP: frozenset(
        (*RUN_KEYS, "grid", "recipe", "cluster", "tracking", "out", "cache", "store", "dry_run", "resume")
    ),
    _PAIRS: frozenset(each.name for each in dataclasses.fields(PairsConfig)),
}

# OmegaConf's names of the types of values, in words.
_TYPES = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false", "String": "text"}
_HINTS = {
    "str": "text (in quotes)",
    "typing.List[str]": "a list of overrides in quotes",
    "int": "whole numbers",
    "float": "numbers",
}


def _register() -> None:
    store = ConfigStore.instance()
    root = {
        "model": MISSING,
        "task": MISSING,
        "algorithm": MISSING,
        "rollout": MISSING,
        "cluster": MISSING,
        "tracking": MISSING,
        "evaluation": _structured(schema.Evaluation),
        "measurement": _structured(schema.Measurement),
        "subnetwork": _structured(schema.Subnetwork),
    }
    store.store(name="schema", node=root)
    for group, name, node in (
        ("model", "schema_embedded", schema.EmbeddedModel),
        ("model", "schema_pretrained", schema.PretrainedModel),
        ("model", "schema_smollm2", schema.SmolLM2Model),
        ("task", "schema_arithmetic", schema.ArithmeticTask),
        ("task", "schema_reasoning_gym", schema.ReasoningGymTask),
        ("task", "schema_dataset", schema.DatasetTask),
        ("algorithm", "schema_grpo", schema.GRPO),
        ("algorithm", "schema_sft", schema.SFT),
        ("algorithm", "schema_dpo", schema.DPO),
        ("algorithm", "schema_orpo", schema.ORPO),
        ("algorithm", "schema_kto", schema.KTO),
        ("algorithm", "schema_simpo", schema.SimPO),
        ("algorithm", "schema_rloo", schema.RLOO),
        ("algorithm", "schema_ppo", schema.PPO),
        ("algorithm", "schema_prime", schema.PRIME),
        ("algorithm", "schema_raft", schema.RAFT),
        ("algorithm", "schema_raft_plus_plus", schema.RAFTPlusPlus),
        ("rollout", "schema_rollout", schema.Rollout),
        ("cluster", "schema_cluster", schema.Cluster),
        ("tracking", "schema_tracking", schema.Tracking),
    ):
        store.store(group=group, name=name, node=_structured(node))


def _structured(schema_class: type) -> DictConfig:
    """A node of a frozen dataclass that can still be written to: composing is not done yet."""
    node: DictConfig = OmegaConf.structured(schema_class)
    OmegaConf.set_readonly(node, None)
    return node


_register()


class Composer:
    """Composes configs from ``conf/`` (and ``config_dir``, a user's own directory of the same layout)."""

    def __init__(self, config_dir: Path | None = None) -> None:
        if config_dir is not None and not config_dir.is_dir():
            raise ConfigError(f"--config-dir must be a directory of the layout of conf/, and {config_dir} is none")
        self._config_dir = config_dir
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._search = [] if config_dir is None else [f"hydra.searchpath=[file://{config_dir.resolve()}]"]

    def sweep(self, overrides: Sequence[str]) -> SweepConfig:
        """The whole config of a command line. Raises ConfigError with one sentence."""
        with self._one_sentence():
            node = self._compose(overrides)
            return SweepConfig(
                run=_run(node),
                grid=_grid(node),
                cluster=_typed(node.cluster),
                tracking=_typed(node.tracking),
                out=_optional_text(node, "out"),
                cache=_optional_text(node, "cache"),
                store=_optional_text(node, "store"),
                dry_run=_boolean(node, "dry_run"),
                resume=str(node.resume),
            )

    def pairs(self, overrides: Sequence[str]) -> PairsConfig | None:
        """The whole config of a command line whose grid is one of pairs of checkpoints; None if it is not.

        Raises ConfigError with one sentence.
        """
        with self._one_sentence():
            grid = [str(each.input_line) for each in parse(overrides) if each.key_or_group == "grid"]
            if not grid or "pairs" not in (self._compose(grid, _PAIRS).get("grid") or {}):
                return None
            return _pairs(self._compose(overrides, _PAIRS))

    def recipe(self, overrides: Sequence[str]) -> tuple[str, list[str]]:
        """Name and overrides of the recipe that a command line adds; ``""`` and none without.

        Raises ConfigError with one sentence.
        """
        with self._one_sentence():
            chosen = [each for each in parse(overrides) if each.key_or_group.split(".")[0] == "recipe"]
            if not chosen:
                return "", []
            if len(chosen) > 1 or chosen[0].key_or_group != "recipe":
                raise ConfigError(f"{chosen[-1].input_line}: write +recipe=NAME once, with {self._names('recipe')}")
            node = self._compose([str(chosen[0].input_line)])
            texts = _typed(OmegaConf.select(node, "recipe.overrides"))
            name = str(chosen[0].value())
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ConfigError(f"recipe={name} must have overrides: a list of overrides in quotes, not {texts!r}")
            return name, texts

    def runs(self, overrides: Sequence[Sequence[str]]) -> Iterator[RunConfig]:
        """One run config for each list of overrides. Raises ConfigError with one sentence."""
        for each in overrides:
            with self._one_sentence():
                config = _run(self._compose(each))
            yield config

    def keys(self, overrides: Sequence[str]) -> frozenset[str]:
        """Every key of the config that ``overrides`` compose to, as in ``algorithm.lr``."""
        with self._one_sentence():
            return frozenset(_keys(self._compose(overrides), ""))

    def choices(self, group: str) -> list[str]:
        """Names of the configs of a group that a command line can choose from."""
        folders: list[Traversable] = [files("subnetray.conf") / group]
        if self._config_dir is not None:
            folders.append(self._config_dir / group)
        names = {item.name for folder in folders if folder.is_dir() for item in folder.iterdir()}
        return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))

    def _compose(self, overrides: Sequence[str], root: str = _SWEEP) -> DictConfig:
        parsed = parse(overrides)
        for override in parsed:
            self._check(override)
        # Hydra composes from scratch in 50 ms, and the cells of a grid share few sets of choices: values are set here,
        # as Hydra sets them, on a copy of what the choices compose to.
        values = [override for override in parsed if _is_value(override)]
        choices = tuple(str(override.input_line) for override in parsed if not _is_value(override))
        if (root, *choices) not in self._composed:
            self._composed[root, *choices] = self._compose_choices(root, choices)
        node = copy.deepcopy(self._composed[root, *choices])
        for override in values:
            OmegaConf.update(node, override.key_or_group, override.value(), merge=True)
        return node

    def _compose_choices(self, root: str, choices: Sequence[str]) -> DictConfig:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_module("subnetray.conf", version_base="1.3"):
            node = hydra.compose(root, overrides=[*self._search, *choices])
        for key in map(str, node):
            if key not in _ROOT_KEYS[root]:
                raise ConfigError(f"there is no config key {key}: choose one of {', '.join(sorted(_ROOT_KEYS[root]))}")
        if isinstance(parameters := OmegaConf.select(node, "task.parameters"), DictConfig):
            OmegaConf.set_struct(parameters, False)  # what a generator takes, it alone knows
        return node

    def _check(self, override: Override) -> None:
        """Raise for what Hydra would accept in silence, or reject in words that help nobody here."""
        group = override.key_or_group
        if override.is_sweep_override():
            raise ConfigError(f"{group} takes one value, or a list in brackets: what varies is a factor of the grid")
        if group.split(".")[0] == "hydra":
            raise ConfigError(f"there is no config key {group}: Hydra itself is not configured here")
        if group not in GROUPS:
            return
        sign = "+" if group in _ADDED else ""
        if override.is_delete() or not isinstance(override.value(), str):
            raise ConfigError(f"{override.input_line}: write {sign}{group}=NAME with {self._names(group)}")
        if override.is_add() != (group in _ADDED):
            raise ConfigError(f"{override.input_line} must be written {sign}{group}={override.value()}")

    def _names(self, group: str) -> str:
        return f"one of {', '.join(self.choices(group))}"

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        try:
            yield
        except MissingConfigException as error:
            raise ConfigError(self._explain_missing(error)) from error
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error)) from error
        except YAMLError as error:
            raise ConfigError(f"a config file is not valid YAML: {' '.join(str(error).split())}") from error

    def _explain_missing(self, error: MissingConfigException) -> str:
        group, _, name = (error.missing_cfg_file or "").partition("/")
        if group in GROUPS:
            return f"{group}={name} is unknown: choose {self._names(group)}"
        return f"there is no config file {error.missing_cfg_file}"


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parsed overrides. Raises ConfigError naming the word that is no override."""
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise ConfigError(f"{text!r} is no override: write key=value, or +grid=NAME") from error
    return parsed


def _is_value(override: Override) -> bool:
    return override.type == OverrideType.CHANGE and override.key_or_group not in GROUPS and override.package is None


def explain(error: Exception) -> str:
    """One sentence on a Hydra or OmegaConf error that names its key and what would be right."""
    # Hydra names some causes only in passing, as the context of what it raises.
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    causes = [link for link in chain if isinstance(link, OmegaConfBaseException)]
    if not causes:
        return _explain_hydra(" ".join(str(error).split()))
    # The deepest that knows its key: beneath it are OmegaConf's own, not yet formatted.
    root = next((cause for cause in reversed(causes) if cause.full_key), causes[-1])
    key = root.full_key or str(root.key)
    text = str(root.msg or root).splitlines()[0].rstrip(".")
    if isinstance(root, (ConfigKeyError, ConfigAttributeError)):
        return _explain_unknown(key, root)
    if isinstance(root, KeyValidationError):
        return f"{key.rpartition('.')[0] or key}: a name must be text, put it in quotes: {text}"
    if match := re.fullmatch(r"Value '(.*)' of type '.*' could not be converted to (\w+)", text):
        return f"{key} must be {_TYPES.get(match[2], match[2])}, not {match[1]!r}"
    if match := re.fullmatch(r"Value (.*) \(.*\) is incompatible with type hint '([\w.\[\]]+)'", text):
        return f"{key} must hold {_HINTS.get(match[2], match[2])}, not {match[1]}"
    if "missing mandatory value" in text:
        return f"{key} must be given: write {key}=value"
    if "is not Optional" in text:
        return f"{key} must not be null"
    if match := re.fullmatch(r"(?:Invalid value assigned: )?(\w+) is not a (?:ListConfig|DictConfig).*", text):
        return f"{key} must be a list, as in {key}=[0]" if "list" in text else f"{key} must be a table of keys"
    return f"{key}: {text}"


def _explain_unknown(key: str, cause: OmegaConfBaseException) -> str:
    if key == "grid":
        return f"{key} needs a grid: name one with +grid=NAME"
    parent = cause.parent_node
    known = sorted({str(name) for name in parent} - {"hydra"}) if isinstance(parent, DictConfig) else []
    return f"there is no config key {key}" + (f": choose one of {', '.join(known)}" if known else "")


def _explain_hydra(text: str) -> str:
    if match := re.match(r"Could not append to config\. An item is already at '(.*?)'", text):
        return f"{match[1]} has a value already: write {match[1]}=value, without +"
    if match := re.match(r"Could not override '(.*?)'", text):
        return f"there is no config key {match[1]}"
    if match := re.match(r"Could not delete from config\. '(.*?)' does not exist", text):
        return f"there is no config key {match[1]} to delete"
    return text.split(" See https://")[0]


def _grid(node: DictConfig) -> schema.Grid | None:
    if node.get("grid") is None:
        return None
    # The node of a frozen Factor is read-only: give each factor one that is not, so that its values can be merged in.
    holder = OmegaConf.create({"grid": _structured(schema.Grid)})
    factors = OmegaConf.select(node, "grid.factors")
    for name, factor in factors.items() if isinstance(factors, DictConfig) else ():
        if not isinstance(factor, DictConfig):
            raise ConfigError(f"grid.factors.{name!s} must be a table of about, baseline and levels, not {factor!r}")
        holder.grid.factors[name] = _structured(schema.Factor)
    return _typed(OmegaConf.merge(holder, {"grid": node.grid}).grid)


def _pairs(node: DictConfig) -> PairsConfig:
    # As for the factors of a grid: the nodes of frozen dataclasses, made writable one by one.
    whole = _structured(PairsConfig)
    whole.grid = _structured(schema.PairGrid)
    pairs = OmegaConf.select(node, "grid.pairs")
    for name, pair in pairs.items() if isinstance(pairs, DictConfig) else ():
        if not isinstance(pair, DictConfig):
            raise ConfigError(f"grid.pairs.{name!s} must be a table of init and final, not {pair!r}")
        whole.grid.pairs[name] = _structured(schema.CheckpointPair)
    return _typed(OmegaConf.merge(whole, node))


def _keys(node: DictConfig, prefix: str) -> Iterator[str]:
    for key in map(str, node):
        yield f"{prefix}{key}"
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key}.")


def _run(node: DictConfig) -> RunConfig:
    for key in _SECTIONS:
        if not OmegaConf.is_dict(node[key]):
            raise ConfigError(f"{key} must be a table of keys, not {node[key]!r}")
    values = {key: _typed(node[key]) for key in RUN_KEYS}
    if not isinstance(values["seed"], int) or isinstance(values["seed"], bool):
        raise ConfigError(f"seed must be a whole number, not {values['seed']!r}")
    return RunConfig(**values)


def _typed(node: Any) -> Any:
    return OmegaConf.to_object(node) if OmegaConf.is_config(node) else node


def _optional_text(node: DictConfig, key: str) -> str | None:
    return None if node[key] is None else str(node[key])


def _boolean(node: DictConfig, key: str) -> bool:
    if not isinstance(node[key], bool):
        raise ConfigError(f"{key} must be true or false, not {node[key]!r}")
    return bool(node[key])
