"""What all configs check themselves with: each mistake is one sentence that names its key."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

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


def named(key: str, name: str) -> None:
    """``name`` names a directory, a column and what is printed."""
    ok = len(name) <= 60 and re.fullmatch(r"\w[\w.-]*", name) is not None
    require(ok, key, "a name of at most 60 letters, digits, _, - and ., which begins with none of the last two", name)


def expand_home(config: object, section: str, *names: str) -> None:
    """Paths as a shell reads them, ``~`` being the user's home. Raises ConfigError for what can be the path of nothing.

    ``section``: what comes before the names of the fields in their keys.
    """
    for name in names:
        text = getattr(config, name)
        if text is None:
            continue
        key, path = f"{section}{name}", text
        if text.startswith("~"):
            user = text.split("/")[0]
            try:
                path = str(Path(text).expanduser())
            except RuntimeError as error:
                raise ConfigError(
                    f"{key}: there is no home directory {user}: write ./{user} for a directory of this name"
                ) from error
        parts = os.fsencode(path).split(b"/")
        ok = max(map(len, parts)) <= 255 and sum(map(len, parts)) + len(parts) <= 4096
        require(ok, key, "a path of at most 4095 bytes, each of its names at most 255", f"{path[:40]}…")
        object.__setattr__(config, name, path)


def one_of(key: str, value: str, names: tuple[str, ...]) -> None:
    require(value in names, key, "one of " + ", ".join(names), value)
