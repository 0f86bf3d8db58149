"""Hydra's and OmegaConf's errors in one sentence that names the key and what would be right.

What an error is about is read off its class, its key and our own schema; its text, which another version words
otherwise, is shown where nothing else is known, and never read.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    KeyValidationError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from subnetray.config.hints import COMMAND, Hints, below, hints_at, may_be_none, wanted


def explain(error: Exception) -> str:
    """One sentence on a Hydra or OmegaConf error that names its key and what would be right."""
    # Hydra names some causes only in passing, as the context of what it raises.
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    causes = [link for link in chain if isinstance(link, OmegaConfBaseException)]
    # The deepest that knows its key: beneath it are OmegaConf's own, not yet formatted.
    root = next((cause for cause in reversed(causes) if _of(cause, "full_key")), None)
    if root is None:
        return " ".join(str(error).split())
    key = str(_of(root, "full_key"))
    if isinstance(root, (ConfigKeyError, ConfigAttributeError)):
        return _explain_unknown(key, root)
    if isinstance(root, KeyValidationError):
        return f"{key.rpartition('.')[0] or key}: a name must be text, put it in quotes"
    if isinstance(root, MissingMandatoryValue):
        return f"{key} must be given: write {key}=value"
    hints, value = _hints(key, root), _of(root, "value")
    if hints and value is None and not may_be_none(hints):
        return f"{key} must not be null"
    if want := wanted(hints):
        return f"{key} must be {want}" + ("" if value is None else f", not {str(value)[:80]!r}")
    return f"{key}: {' '.join(str(_of(root, 'msg') or root).splitlines()[:1]).rstrip('.')}"


def _of(cause: OmegaConfBaseException, name: str) -> Any:
    """Return what the error says of itself by ``name``, an attribute that OmegaConf 2.3.1 does not document."""
    return getattr(cause, name, None)


def _hints(key: str, cause: OmegaConfBaseException) -> Hints:
    """Return the types that the value at ``key`` may have: by the schema of what holds it, if the error has that."""
    owner = _of(cause, "object_type")
    if dataclasses.is_dataclass(owner) and (own := below(owner, key.rpartition(".")[2])):
        return own
    return hints_at(COMMAND, key.replace("[", ".").replace("]", "").split("."))


def _explain_unknown(key: str, cause: OmegaConfBaseException) -> str:
    if key == "grid":
        return f"{key} needs a grid: name one with +grid=NAME"
    parent = _of(cause, "parent_node")
    known = sorted({str(name) for name in parent} - {"hydra"}) if isinstance(parent, DictConfig) else []
    return f"there is no config key {key}" + (f": choose one of {', '.join(known)}" if known else "")
