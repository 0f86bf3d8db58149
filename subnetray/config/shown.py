"""Write as text what a command line can choose from, and what it composes to."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import yaml

from subnetray.config.compose import Composer
from subnetray.config.sweep import SweepConfig
from subnetray.config.words import GROUPS

# By name, what of a config ``--cfg`` prints.
PARTS = {"job": "one run, that of the baseline", "grid": "the grid", "all": "all of it"}
_WIDTH = 120


def choices(composer: Composer) -> str:
    """Name every group of configs and what can be chosen of it, the default first."""
    defaults = _defaults()
    lines = ["choices, as in model=smollm2_135m:"]
    width = max(map(len, GROUPS)) + 3
    for group in GROUPS:
        default = defaults.get(group)
        names = [name for name in composer.choices(group) if name != default]
        sign = "" if default else "+"
        start = f"  {f'{sign}{group}=':{width}} "
        text = ", ".join([f"{default} (default)", *names] if default else names)
        lines += textwrap.wrap(text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join(
        [*lines, "", "python -m subnetray.explain KEY says what a key takes, its default and its meaning."]
    )


def composed(config: Any, part: str) -> str:
    """Return a part of a config, one of ``PARTS``, in YAML, with its keys as a command line has them."""
    return yaml.safe_dump(_part(config, part), sort_keys=False, allow_unicode=True, width=_WIDTH)


def _part(config: Any, part: str) -> dict[str, Any]:
    if not isinstance(config, SweepConfig):
        content: dict[str, Any] = dataclasses.asdict(config)
    elif part == "job":
        return config.run.to_dict()
    else:
        rest = {key: value for key, value in dataclasses.asdict(config).items() if key != "run"}
        content = {**config.run.to_dict(), **rest}
    return content["grid"] if part == "grid" else content


def _defaults() -> dict[str, str]:
    """Return the choices of conf/config.yaml, by group."""
    entries = yaml.safe_load((files("subnetray.conf") / "config.yaml").read_text())["defaults"]
    return dict(_pairs(entries))


def _pairs(entries: list[Any]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if isinstance(entry, dict):
            yield from entry.items()
