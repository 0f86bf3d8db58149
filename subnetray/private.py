"""Private names of libraries: looked up where they are used, so that one that is gone costs what it was for alone.

Who reaches for them: ``rollout.cpu`` (vLLM), ``driver.cluster`` (Ray), ``algorithms.shared`` (TRL, transformers). Each
reach is a function there, in a ``private.py``, and the public way takes over where its name is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

_log = logging.getLogger(__name__)


class Gone(RuntimeError):
    """A library of another version has no such name; the text says which library, and which name."""


def reach(module: str, name: str) -> Any:
    """Return what ``module`` calls ``name``, as in ``Class.method``. Raises :class:`Gone`."""
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Gone(f"{_named(module)} has no {module}.{name}") from error
    return found


def replace(module: str, name: str, value: Any) -> None:
    """Put ``value`` in the place of what ``module`` calls ``name``, which must be there. Raises :class:`Gone`."""
    reach(module, name)
    owner, _, last = name.rpartition(".")
    setattr(reach(module, owner) if owner else import_module(module), last, value)


@contextmanager
def unless_gone(then: str) -> Iterator[None]:
    """Go on after the block if a name in it is gone: a line of log says which, and what happens without it."""
    try:
        yield
    except Gone as gone:
        _log.warning("%s: %s", gone, then)


def _named(module: str) -> str:
    """Return the library of a module and its version, as in ``ray 2.60.0``."""
    library = module.partition(".")[0]
    for package in (library, *packages_distributions().get(library, ())):
        try:
            return f"{library} {version(package)}"
        except PackageNotFoundError:
            continue
    return library
