"""What a grid's factors stand for in the literature: read from the config keys that their levels set.

Names of factors and levels are the user's; the keys are the project's. So a claim finds the factor it is about in any
grid, and the paper's numbers find their rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from subnetray.config import ALGORITHMS, Grid

CLIP, KL, INIT, STEPS, DATA, PRECISION, METHOD, DISTRIBUTION, LEARNING_RATE, ARM, REPLICA = (
    *("clip", "kl", "init", "steps", "data", "precision", "method", "distribution", "learning_rate", "arm", "replica"),
)
BLOCK, PROMPTS, INIT_SEED = "block", "prompts", "init_seed"

_KEYS = {
    "algorithm.max_grad_norm": CLIP,
    "algorithm.beta": KL,
    "algorithm.steps": STEPS,
    "algorithm.lr": LEARNING_RATE,
    "algorithm.data": DISTRIBUTION,
    "algorithm": METHOD,
    "precision": PRECISION,
    "rollout.replica": REPLICA,
    "task.data_seed": PROMPTS,
    "model.pretrain_seed": INIT_SEED,
}

FULL, ORACLE, RANDOM = (
    "full",
    "oracle",
    "random",
)  # kinds of arms: no restriction, the run's own mask, any other of its size

# What the paper means by data in and off the policy's distribution, by what `algorithm.data` says (rollouts: an
# algorithm without it trains on what its own policy samples).
IN_DISTRIBUTION = frozenset(("rollouts", "rejection", "on_policy"))
OFF_DISTRIBUTION = frozenset(("gold", "shuffled", "off_policy"))

_DEFAULTS: Mapping[str, Any] = {"algorithm": "grpo", "precision": "fp32_master"}


def role(grid: Grid, factor: str) -> str | None:
    """The role of a factor; None if its levels set keys of several roles, or of none."""
    if grid.factors[factor].block:
        return BLOCK
    found = {_role_of_key(key) for level in grid.factors[factor].levels for key in _settings(grid, factor, level)}
    if METHOD in found:
        return METHOD
    return found.pop() if len(found) == 1 else None


def factor_with(grid: Grid, wanted: str) -> str | None:
    """The first factor with a role."""
    return next((name for name in grid.factors if role(grid, name) == wanted), None)


def value(grid: Grid, factor: str, level: str, key: str) -> str | None:
    """What a level sets ``key`` to, as text; failing that, what the whole grid does, or the default."""
    for settings in (_settings(grid, factor, level), _parsed(grid.overrides)):
        if key in settings:
            return settings[key]
    return _DEFAULTS.get(key)


def methods(grid: Grid) -> list[tuple[dict[str, str], str]]:
    """Every algorithm with each kind of training data that the grid has levels for: the levels, and the kind in words.

    The kind is as in ``sft/gold``. Algorithms that cannot be trained on data of a level are left out with it.
    """
    names = [name for name in (factor_with(grid, METHOD), factor_with(grid, DISTRIBUTION)) if name is not None]
    cells = [
        dict(zip(names, levels, strict=True))
        for levels in itertools.product(*(grid.factors[name].levels for name in names))
    ]
    found = [(cell, _method(grid, cell)) for cell in cells]
    return [(cell, kind) for cell, kind in found if kind.split("/")[1] in IN_DISTRIBUTION | OFF_DISTRIBUTION]


def _method(grid: Grid, cell: Mapping[str, str]) -> str:
    """The algorithm of a cell and where its training data come from: ``rollouts``, or its ``algorithm.data``."""
    distribution = factor_with(grid, DISTRIBUTION)
    base = {} if distribution is None else {distribution: grid.factors[distribution].baseline}
    algorithm, data = str(_DEFAULTS["algorithm"]), None
    for settings in (_parsed(grid.overrides), *(_settings(grid, *each) for each in (base | dict(cell)).items())):
        algorithm, data = settings.get("algorithm", algorithm), settings.get("algorithm.data", data)
    schema = ALGORITHMS.get(algorithm)
    chosen = data or str(getattr(schema, "data", "rollouts"))
    return f"{algorithm}/{chosen if schema is None else schema.DATA.get(chosen, chosen)}"


def kind(grid: Grid, factor: str, level: str) -> str:
    """What a level is, in words that do not depend on the grid: ``on`` or ``off``, ``sft/gold``, ``fp32``, …"""
    found = role(grid, factor)
    if found == CLIP:
        return "off" if value(grid, factor, level, "algorithm.max_grad_norm") in ("null", "None") else "on"
    if found == KL:
        return "on" if _number(value(grid, factor, level, "algorithm.beta")) else "off"
    if found == INIT:
        changed = any(_number(text) for key, text in _settings(grid, factor, level).items() if key.endswith("_steps"))
        return "after_sft" if changed else "base"
    if found == METHOD:
        return _method(grid, {factor: level})
    if found == ARM:
        return _arm(_settings(grid, factor, level))
    if found == PRECISION:
        return str(value(grid, factor, level, "precision"))
    return level


def _arm(settings: dict[str, str]) -> str:
    """Which mask, of which run: as in ``full``, ``oracle``, ``early_update@5`` or ``oracle of [algorithm=dpo] +1``."""
    mask = settings.get("subnetwork.mask", "null")
    if mask in ("null", "None"):
        return FULL
    at, source, seed = (settings.get(f"subnetwork.{key}") for key in ("at", "source", "source_seed"))
    return "".join(
        (
            mask,
            f"@{at}" if at else "",
            f" of {source}" if source not in (None, "[]") else "",
            f" +{seed}" if seed else "",
        )
    )


def _role_of_key(key: str) -> str | None:
    if key in _KEYS:
        return _KEYS[key]
    group = key.split(".")[0]
    return {"model": INIT, "task": DATA, "subnetwork": ARM}.get(group)


def _settings(grid: Grid, factor: str, level: str) -> dict[str, str]:
    return _parsed(grid.factors[factor].levels[level])


def _parsed(overrides: list[str]) -> dict[str, str]:
    parts = (text.lstrip("+~").partition("=") for text in overrides)
    return {key: text.strip("'\"") for key, _, text in parts}


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
