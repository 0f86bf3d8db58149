"""Have a dashboard saved, and say in one sentence why it is not."""

from __future__ import annotations

from collections.abc import Callable

from subnetray.config import ConfigError
from subnetray.driver.dashboard.content import Content
from subnetray.driver.tracking.account import host
from subnetray.driver.tracking.ask import ask

DEADLINE_S = 120.0


class NotMade(RuntimeError):
    """The server did not take all of it; a sentence says why."""


def make(content: Content, sync: str, say: Callable[[str], None]) -> None:
    """Make or update the workspace and the report of a sweep, and say where they are.

    ``sync``: the command that uploads the sweep, for who has not. Raises ConfigError if its runs are not there, and
    NotMade if the server does not take it, or not in time.
    """
    answered = ask("subnetray.driver.dashboard.worker", content.message(), DEADLINE_S)
    if (missing := answered.found.get("missing")) is not None:
        raise ConfigError(f"W&B at {host()} has no run {missing}: upload the sweep first ({sync}), or name its project")
    for what in ("workspace", "report"):
        if url := answered.found.get(what):
            say(f"the W&B {what} is {url}")
    if "report" not in answered.found:
        raise NotMade(f"W&B at {host()} {answered.reason}: the same command can be repeated")
