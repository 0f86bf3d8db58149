"""Find what other packages add: algorithms, nulls, claims and sections of the report, each by an entry point.

A package names them in its ``pyproject.toml``, under ``[project.entry-points."subnetray.claims"]`` and its like, and
they are there wherever it is installed: see CONTRIBUTING.md. Each registry loads its own kind last when it is imported.
Nothing is raised then, as no command has begun: :func:`problems` says what was left out, and commands refuse to start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib import import_module, metadata
from types import MappingProxyType
from typing import Any

# By kind: the module that keeps the registry.
KINDS = {
    "algorithms": "subnetray.config",
    "nulls": "subnetray.nulls",
    "claims": "subnetray.analysis.claims",
    "sections": "subnetray.reporting.added",
}
_PREFIX = "subnetray."

_problems: list[str] = []


def load(kind: str, misfit: Callable[[str, Any], str | None], known: Collection[str] = ()) -> dict[str, Any]:
    """Import what other packages add of one of :data:`KINDS`, by its name, in the order of names.

    ``misfit`` says, of a name and an object, why it cannot be one; ``known`` are names that are taken. What is left out
    is among :func:`problems`.
    """
    found: dict[str, Any] = {}
    for entry in _entries().get(kind, ()):
        try:
            reason = "there is one of that name already" if entry.name in (*known, *found) else None
            reason = reason or misfit(entry.name, value := entry.load())
        except Exception as error:  # whatever somebody's module raises when it is imported
            reason = f"{type(error).__name__}: {error}"
        if reason is None:
            found[entry.name] = value
        else:
            _problems.append(f"{_who(entry)} adds {entry.name} to {_PREFIX}{kind}, and that fails: {reason}")
    return found


def problems() -> list[str]:
    """Have every registry load what there is, and return a sentence on each that could not be loaded."""
    for kind, entries in _entries().items():
        if entries:
            import_module(KINDS[kind])
    return list(_problems)


def installed() -> list[str]:
    """Every plug-in, loaded or not: as in ``claims: steep = toy:steep (toy 1.0)``."""
    return [
        f"{kind}: {entry.name} = {entry.value} ({_who(entry)})"
        for kind, entries in _entries().items()
        for entry in entries
    ]


def _who(entry: metadata.EntryPoint) -> str:
    return "a package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


@cache  # all packages are looked through once, in 30 ms
def _entries() -> Mapping[str, tuple[metadata.EntryPoint, ...]]:
    found = metadata.entry_points()
    return MappingProxyType({kind: tuple(sorted(found.select(group=f"{_PREFIX}{kind}"))) for kind in KINDS})
