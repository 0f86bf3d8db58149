"""What all configs check themselves with: each mistake is one sentence that names its key."""

from __future__ import annotations

import math

from subnetray.text import clean


class ConfigError(ValueError):
    """Bad input, found before work began; its text is one sentence that names the key and what would be right.

    What it quotes of the input is cleaned.
    """

    def __init__(self, text: str) -> None:
        super().__init__(clean(text))


def require(ok: bool, key: str, want: str, got: object) -> None:
    if not ok:
        raise ConfigError(f"{key} must be {want}, not {got!r}")


def positive(key: str, value: float) -> None:
    require(math.isfinite(value) and value > 0, key, "a finite number > 0", value)


def at_least(key: str, value: float, low: float) -> None:
    require(math.isfinite(value) and value >= low, key, f"a finite number >= {low:g}", value)


def freeze(config: object, *names: str) -> None:
    # OmegaConf hands lists where a tuple is declared.
    for name in names:
        object.__setattr__(config, name, tuple(getattr(config, name)))


def one_of(key: str, value: str, names: tuple[str, ...]) -> None:
    require(value in names, key, "one of " + ", ".join(names), value)
