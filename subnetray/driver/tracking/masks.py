"""Fetch a mask that W&B has as an artifact: ``subnetwork.mask=wandb:ENTITY/PROJECT/NAME:ALIAS``.

Its name asks for the network while a command line is read, as a run's id depends on the mask's content. A version
(``v3``) that was fetched before is not asked for again; what an alias means is asked for each time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from subnetray.config import ConfigError
from subnetray.files import atomic_path
from subnetray.store.results import MASK

DEADLINE_S = 60.0
_KEY = "subnetwork.mask"


def fetch(name: str, place: Path | None = None) -> Path:
    """Return the file of an artifact's mask, in the cache ``place``. Raises ConfigError if it cannot be fetched."""
    from subnetray.models import default_cache

    found: Path = _fetch(name, (place or default_cache()).expanduser().absolute() / "masks")
    return found


@cache  # every cell of a grid asks for its own
def _fetch(name: str, place: Path) -> Path:
    from subnetray.driver.tracking.account import host, require
    from subnetray.driver.tracking.ask import ask

    base, _, alias = name.rpartition(":")
    if re.fullmatch(r"v\d+", alias) and (known := place / base / alias / MASK).is_file():
        return known
    require(f"{_KEY}=wandb:{name}", "name a mask file")
    answered = ask(
        "subnetray.driver.tracking.masks", json.dumps({"name": name, "place": str(place / base)}), DEADLINE_S
    )
    if (version := answered.found.get("version")) is not None:
        return place / base / version / MASK
    for word in ("missing", "without"):
        if (why := answered.found.get(word)) is not None:
            raise ConfigError(f"{_KEY}: {why}")
    raise ConfigError(f"{_KEY}: W&B at {host()} {answered.reason}: try again, or name a mask file")


def main() -> None:
    """Fetch what standard input names, and say which version it is, or why there is none."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    asked = json.loads(sys.stdin.readline())
    try:
        answer = _download(asked["name"], Path(asked["place"]))
    except Exception as error:  # of W&B and of what it sends by, which have no class in common: the parent says it
        answer = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")


def _download(name: str, place: Path) -> dict[str, Any]:
    import wandb

    from subnetray.driver.tracking.ask import PATIENCE

    wandb.setup(settings=wandb.Settings(**PATIENCE))
    api = wandb.Api(timeout=PATIENCE["x_graphql_timeout_seconds"])
    try:
        artifact = api.artifact(name)
    except (ValueError, wandb.Error) as error:
        if "not found" not in str(error).lower() and "does not contain" not in str(error):
            raise
        return {"missing": f"W&B has no artifact {name}, or does not show it to this account"}
    entry = artifact.manifest.entries.get(MASK)
    if entry is None:
        return {"without": f"the artifact {name} holds no {MASK}"}
    target = place / artifact.version
    target.mkdir(parents=True, exist_ok=True)
    if entry.ref is None:
        entry.download(root=str(target))
        return {"version": artifact.version}
    # As runs log theirs. Whether it is whole is looked at when it is read, as every mask's file is.
    where = urlsplit(entry.ref)
    source = Path(unquote(where.path))
    if where.scheme != "file" or not source.is_file():
        return {"without": f"the artifact {name} refers to {entry.ref}, which is not a file of this machine"}
    with atomic_path(target / MASK) as temporary:
        shutil.copyfile(source, temporary)
    return {"version": artifact.version}


if __name__ == "__main__":
    main()
