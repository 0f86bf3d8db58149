"""Find the checkout that a sweep's directory is in, if it is: its commit, where it is from, what differs from it."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_TIMEOUT_S = 5.0  # of one command of git's: a checkout may lie on a network
_MOST_BYTES = 1 << 20  # of a diff that is kept; of a longer one, nothing
# No program that the checkout's own settings name is started, and nothing is asked of anybody.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")


class Checkout:
    """Looks at once, in a thread: what a sweep runs is what is there when it begins."""

    def __init__(self, directory: Path) -> None:
        self._directory = next(path for path in (directory, *directory.parents) if path.is_dir())
        self._found: dict[str, str] = {}
        self._thread = threading.Thread(target=self._look, name="checkout", daemon=True)
        self._thread.start()

    def facts(self) -> Mapping[str, Any]:
        """``commit``, ``remote`` and ``diff``, as far as they are known; nothing outside of a checkout."""
        self._thread.join(4 * _TIMEOUT_S)
        return dict(self._found)

    def _look(self) -> None:
        commit = self._git("rev-parse", "--verify", "--quiet", "HEAD")
        if not commit:
            return
        found = {"commit": commit.strip()}
        if remote := self._git("config", "--get", "remote.origin.url"):
            found["remote"] = without_account(remote.strip())
        if diff := self._git("diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD"):
            found["diff"] = diff
        self._found = found

    def _git(self, *arguments: str) -> str:
        """Return what git answers; nothing where it fails, is not there, takes long or says too much."""
        # Hooks of git's own name a repository in the environment; which one this is is said by the directory.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        with suppress(OSError, subprocess.SubprocessError):
            found = subprocess.run(
                [*_GIT, *arguments],
                cwd=self._directory,
                env=environment | {"GIT_TERMINAL_PROMPT": "0"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=True,
            ).stdout
            return found.decode(errors="replace") if len(found) <= _MOST_BYTES else ""
        return ""


def without_account(url: str) -> str:
    """Return an address without user, password and query, any of which may be a secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if parts.netloc else url
