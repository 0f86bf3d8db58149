"""The W&B account that ``tracking=online`` logs to: looked for as W&B does, without importing it."""

from __future__ import annotations

import configparser
import netrc
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from subnetray.config import ConfigError, Tracking

_DEFAULT_URL = "https://api.wandb.ai"
# What W&B itself takes for a key: an optional prefix, 40 characters or more; or a web token of three parts.
_KEY = re.compile(r"([^-]*-)?[\w-]{40,}|[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


def check(tracking: Tracking) -> None:
    """Raise ConfigError if ``online`` has no account to log to, or one whose key none can be; no server is asked."""
    if tracking.mode == "online":
        require("tracking=online", "use tracking=offline")


def require(asked: str, instead: str) -> None:
    """Raise ConfigError unless there may be an account for what is ``asked``; ``instead``: what else can be done."""
    if (url := urlsplit(base_url())).scheme not in ("http", "https") or not url.hostname:
        raise ConfigError(
            f"{asked} needs the address of a W&B server in WANDB_BASE_URL, such as {_DEFAULT_URL}: got {host()!r}"
        )
    if os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return
    where, key = "WANDB_API_KEY", os.environ.get("WANDB_API_KEY")
    if not key:
        path = _netrc_file()
        where, key = f"{path} for {host()}", _netrc_key(path, url.netloc)
    if not key:
        raise ConfigError(f"{asked} needs an account: run `wandb login` or set WANDB_API_KEY, or {instead}")
    if not _KEY.fullmatch(key):
        # Not the key itself, nor a part of it: what is said ends up in logs.
        raise ConfigError(
            f"{asked} needs a W&B key of 40 or more letters and digits, and that in {where} is none:"
            f" run `wandb login`, or {instead}"
        )


def base_url() -> str:
    """The address of the server: from the environment, or as ``wandb login --host`` noted it."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url.rstrip("/")
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(Path(folder).expanduser() / "settings")
        return settings.get("default", "base_url", fallback=_DEFAULT_URL).rstrip("/")
    except (configparser.Error, OSError, UnicodeError):
        return _DEFAULT_URL


def host() -> str:
    """The server, as it may be shown: an address can hold a password."""
    return base_url().rpartition("://")[2].rpartition("@")[2].partition("/")[0]


def _netrc_file() -> Path:
    if named := os.environ.get("NETRC"):
        return Path(named).expanduser()
    usual, other = (Path.home() / name for name in (".netrc", "_netrc"))
    return other if other.exists() and not usual.exists() else usual


def _netrc_key(path: Path, host: str) -> str | None:
    try:
        found = netrc.netrc(path).authenticators(host)
    except (OSError, UnicodeError, netrc.NetrcParseError):
        return None
    return found[2] if found else None
