"""Hydra composition: override strings in, frozen dataclasses out, every mistake one sentence.

``@hydra.main`` is not used: the commands compose many cells a process, exit with 2 on bad input, and keep Hydra's
working-directory and logging side effects out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from subnetray import config as schema
from subnetray.config import ConfigError, RunConfig, SweepConfig

GROUPS = ("algorithm", "cluster", "grid", "model", "rollout", "task", "tracking")

_RUN_KEYS = ("model", "task", "algorithm", "rollout", "evaluation", "measurement", "precision", "seed")


def _register() -> None:
    store = ConfigStore.instance()
    root = {
        "model": MISSING,
        "task": MISSING,
        "algorithm": MISSING,
        "rollout": MISSING,
        "cluster": MISSING,
        "tracking": MISSING,
        "evaluation": schema.Evaluation,
        "measurement": schema.Measurement,
    }
    store.store(name="schema", node=root)
    for group, name, node in (
        ("model", "schema_embedded", schema.EmbeddedModel),
        ("model", "schema_pretrained", schema.PretrainedModel),
        ("task", "schema_arithmetic", schema.ArithmeticTask),
        ("algorithm", "schema_grpo", schema.GRPO),
        ("algorithm", "schema_sft", schema.SFT),
        ("algorithm", "schema_dpo", schema.DPO),
        ("rollout", "schema_rollout", schema.Rollout),
        ("cluster", "schema_cluster", schema.Cluster),
        ("tracking", "schema_tracking", schema.Tracking),
    ):
        store.store(group=group, name=name, node=node)


_register()


class Composer:
    """Composes configs from ``conf/`` (and ``config_dir``, a user's own directory of the same layout)."""

    def __init__(self, config_dir: Path | None = None) -> None:
        if config_dir is not None and not config_dir.is_dir():
            raise ConfigError(f"--config-dir must be a directory of the layout of conf/, and {config_dir} is none")
        self._search = [] if config_dir is None else [f"hydra.searchpath=[file://{config_dir.resolve()}]"]

    def sweep(self, overrides: Sequence[str]) -> SweepConfig:
        """The whole config of a command line. Raises ConfigError with one sentence."""
        with self._hydra():
            node = self._compose(overrides)
        with _one_sentence():
            grid_node = node.get("grid")
            grid = None
            if grid_node is not None:
                grid = _typed(OmegaConf.merge(OmegaConf.structured(schema.Grid), grid_node))
            return SweepConfig(
                run=_run(node),
                grid=grid,
                cluster=_typed(node.cluster),
                tracking=_typed(node.tracking),
                out=_optional_text(node, "out"),
                cache=_optional_text(node, "cache"),
                dry_run=_boolean(node, "dry_run"),
                resume=str(node.resume),
            )

    def runs(self, overrides: Sequence[Sequence[str]]) -> list[RunConfig]:
        """One run config for each list of overrides. Raises ConfigError with one sentence."""
        configs = []
        with self._hydra():
            for each in overrides:
                node = self._compose(each)
                with _one_sentence():
                    configs.append(_run(node))
        return configs

    @contextmanager
    def _hydra(self) -> Iterator[None]:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_module("subnetray.conf", version_base="1.3"):
            yield

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        with _one_sentence():
            return hydra.compose("config", overrides=[*self._search, *overrides])


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parsed overrides. Raises ConfigError naming the word that is no override."""
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise ConfigError(f"{text!r} is no override: write key=value, or +grid=name") from error
    return parsed


def choices(group: str) -> list[str]:
    """Names of the configs that ship in ``conf/<group>/``."""
    folder = files("subnetray.conf") / group
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def _run(node: DictConfig) -> RunConfig:
    values = {key: _typed(node[key]) for key in _RUN_KEYS}
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


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error


def explain(error: Exception) -> str:
    """The first sentence that a user can act on in a Hydra or OmegaConf error, with the key it is about."""
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    configs = [link for link in chain if isinstance(link, OmegaConfBaseException)]
    if configs:
        root = configs[-1]
        key = root.full_key or root.key
        text = str(root.msg or root).splitlines()[0].rstrip(".")
        if "is not in struct" in text or "not in '" in text:
            return f"there is no config key {key}"
        return f"{key}: {text}"
    text = " ".join(str(error).split())
    for group in GROUPS:
        marker = f"'{group}/"
        if marker in text:
            name = text.split(marker, 1)[1].split("'", 1)[0]
            return f"{group}={name} is unknown: choose one of {', '.join(choices(group))}"
    return text
