"""``python -m subnetray.report sweep=DIR``: write the report of a sweep, finished or still running, from its runs.

``cache=DIR``: where its inits are, if the sweep was given a cache of its own. Exit codes: 0 the report is written;
2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from subnetray import cli
from subnetray.config import ConfigError
from subnetray.config.checks import expand_home
from subnetray.config.hints import schema_of
from subnetray.config.words import parse

_PACKAGES = ("pandas", "matplotlib", "altair", "vl_convert")


@dataclass(frozen=True)
class _Keys:
    """The keys of the command."""

    sweep: str
    cache: str | None = None

    def __post_init__(self) -> None:
        if not self.sweep:
            raise ConfigError("sweep must be a directory, as in sweep=outputs/origins")
        if self.cache == "":
            raise ConfigError("cache must be a directory, as in cache=/scratch/subnetray")
        expand_home(self, "", "sweep", "cache")


def main(arguments: Sequence[str] | None = None, prog: str = "python -m subnetray.report") -> int:
    """Entry point, called as ``prog``; returns the exit code."""
    return cli.run(prog, __doc__, arguments, _run)


def _run(options: argparse.Namespace) -> int:
    keys = _keys(options.overrides)
    _check_packages()
    from subnetray.driver.derive import derive
    from subnetray.models import default_cache

    cache = default_cache() if keys.cache is None else Path(keys.cache).absolute()
    print(f"the report is {derive(Path(keys.sweep).absolute(), cache, print)}")
    return 0


def _keys(overrides: Sequence[str]) -> _Keys:
    parsed = parse(overrides, schema_of(_Keys))
    for override in parsed:
        if override.key_or_group not in ("sweep", "cache") or override.is_add() or override.is_delete():
            raise ConfigError(f"{override.input_line} is not an option of a report: write sweep=DIR, or cache=DIR")
    given = [override.key_or_group for override in parsed]
    if given.count("sweep") != 1:
        raise ConfigError("a report is of one sweep: write sweep=DIR, as in sweep=outputs/origins")
    if given.count("cache") > 1:
        raise ConfigError("cache is given more than once")
    values = {override.key_or_group: override.value() for override in parsed}
    return _Keys(**{key: str(value) for key, value in values.items() if value is not None})


def _check_packages() -> None:
    """Planning takes none of what tables and figures are made with, so that an installation may lack it."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ConfigError(
            f"a report needs {', '.join(missing)}: install them with the extra train, as in"
            " pip install 'subnetray[train]'"
        )


if __name__ == "__main__":
    sys.exit(main())
