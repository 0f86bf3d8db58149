"""``python -m subnetray.report sweep=DIR``: write the report of a sweep, finished or still running, from its runs.

Exit codes: 0 the report is written; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from subnetray.compose import parse
from subnetray.config import ConfigError

_PACKAGES = ("pandas", "matplotlib")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m subnetray.report", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="sweep=DIR", help="the directory of a sweep")
    options = parser.parse_args(arguments)
    try:
        directory = _directory(options.overrides)
        _check_packages()
        from subnetray.driver.derive import derive
        from subnetray.models import default_cache

        print(f"the report is {derive(directory.absolute(), default_cache(), print)}")
        return 0
    except ConfigError as error:
        print(f"subnetray: {error}", file=sys.stderr)
        return 2


def _directory(overrides: Sequence[str]) -> Path:
    parsed = parse(overrides)
    for override in parsed:
        if override.key_or_group != "sweep" or override.is_add() or override.is_delete():
            raise ConfigError(f"{override.input_line} is not an option of a report: write sweep=DIR")
    if len(parsed) != 1:
        raise ConfigError("a report is of one sweep: write sweep=DIR, as in sweep=outputs/origins")
    value = parsed[0].value()
    if parsed[0].is_sweep_override() or value is None or value == "" or isinstance(value, (list, dict)):
        raise ConfigError("sweep must be a directory, as in sweep=outputs/origins")
    return Path(str(value)).expanduser()


def _check_packages() -> None:
    """Planning takes no pandas and no matplotlib, so that an installation may lack them."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ConfigError(
            f"a report needs {' and '.join(missing)}: install them with the extra train, as in"
            " pip install 'subnetray[train]'"
        )


if __name__ == "__main__":
    sys.exit(main())
