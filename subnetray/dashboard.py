"""``python -m subnetray.dashboard sweep=DIR``: make or update a sweep's workspace and report in W&B.

The sweep is one that was logged with tracking=online, or whose offline files were uploaded by ``wandb sync``. Its
project is the one that it was logged to, unless ``project=`` and ``entity=`` name another. What is there is updated.

Exit codes: 0 both are saved; 1 W&B did not take them, and the same command can be repeated; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from subnetray import cli
from subnetray.config import ConfigError, Tracking
from subnetray.config.checks import expand_home

_EXTRA = "dashboard"


@dataclass(frozen=True)
class _Keys:
    """The keys of the command."""

    sweep: str
    project: str | None = None
    entity: str | None = None

    def __post_init__(self) -> None:
        if not self.sweep:
            raise ConfigError("sweep must be a directory, as in sweep=outputs/origins")
        expand_home(self, "", "sweep")


def main(arguments: Sequence[str] | None = None, prog: str = "python -m subnetray.dashboard") -> int:
    """Entry point, called as ``prog``; returns the exit code."""
    return cli.run(prog, __doc__, arguments, _run)


def _run(options: argparse.Namespace) -> int:
    values = cli.values(options.overrides, _Keys)
    if "sweep" not in values:
        raise ConfigError("a dashboard is of one sweep: write sweep=DIR, as in sweep=outputs/origins")
    keys = _Keys(**values)
    _check_packages()
    from subnetray.driver.dashboard.content import content
    from subnetray.driver.dashboard.make import NotMade, make
    from subnetray.driver.tracking import account
    from subnetray.driver.tracking.backends import sync_line
    from subnetray.driver.tracking.notes import Notes

    directory = Path(keys.sweep).absolute()
    noted = Notes(directory / "wandb").place() or (Tracking().project, None)
    where = Tracking(mode="online", project=keys.project or noted[0], entity=keys.entity or noted[1])
    found = content(directory, where.project, where.entity)
    account.require("a dashboard", "use the report, which needs none")
    try:
        make(found, sync_line(directory / "wandb"), print)
    except NotMade as error:
        print(f"subnetray: {error}", file=sys.stderr)
        return 1
    return 0


def _check_packages() -> None:
    if missing := [name for name in ("wandb_workspaces", "pandas") if find_spec(name) is None]:
        name = missing[0].replace("_", "-")
        raise ConfigError(
            f"a dashboard needs {name}: install it with the extra {_EXTRA}, as in pip install 'subnetray[{_EXTRA}]'"
        )


if __name__ == "__main__":
    sys.exit(main())
