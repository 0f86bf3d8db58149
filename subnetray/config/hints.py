"""The types of all keys, read off the schema: text is kept as it was typed, and numbers are read strictly."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from subnetray.config.algorithm import ALGORITHMS
from subnetray.config.model import MODELS
from subnetray.config.pairs import PairGrid, PairsConfig
from subnetray.config.run import Evaluation, Measurement, Rollout, Subnetwork
from subnetray.config.sweep import Checkpointing, Cluster, Grid, Reporting, Tracking
from subnetray.config.task import TASKS

# The types of a value; the keys of a table; or several where the key's owner is a choice.
Hints = tuple[Any, ...]
Schema = Mapping[str, Hints]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The keys of a file of the group ``recipe``."""

    about: str
    overrides: list[str]


# By key: what the command line of a sweep, a run or a comparison of pairs holds there.
COMMAND: Schema = {
    "model": MODELS,
    "task": TASKS,
    "algorithm": tuple(ALGORITHMS.values()),
    "rollout": (Rollout,),
    "evaluation": (Evaluation,),
    "measurement": (Measurement,),
    "subnetwork": (Subnetwork,),
    "cluster": (Cluster,),
    "checkpoint": (Checkpointing,),
    "report": (Reporting,),
    "tracking": (Tracking,),
    "grid": (Grid, PairGrid),
    "recipe": (Recipe,),
    "precision": (str,),
    "seed": (int,),
    "cache": (str | None,),
    "store": (str | None,),
    "resume": (str,),
    "on_failed_runs": (str,),
    **{name: (hint,) for name, hint in get_type_hints(PairsConfig).items() if name in {"models_dir", "pairs", "dtype"}},
    **{name: (hint,) for name, hint in get_type_hints(PairsConfig).items() if name in {"threads", "out", "dry_run"}},
}


def schema_of(kind: type) -> Schema:
    """The keys of a dataclass, as those of a command line."""
    return {name: (hint,) for name, hint in _fields(kind).items()}


def hints_at(schema: Schema, key: Sequence[str]) -> Hints:
    """The types that the value at ``key`` may have: none where there is no such key."""
    found = schema.get(key[0], ()) if key else ()
    for name in key[1:]:
        found = tuple(inner for hint in found for inner in below(hint, name))
    return found


def below(hint: Any, name: str) -> Hints:
    """The types of what ``hint`` holds under ``name``: a field, a key or an index."""
    hint = _without_none(hint)
    if dataclasses.is_dataclass(hint):
        own = _fields(hint)  # type: ignore[arg-type]
        return (own[name],) if name in own else ()
    arguments = get_args(hint)
    if get_origin(hint) is dict:
        return (arguments[1],)
    if get_origin(hint) in (list, tuple):
        return (arguments[0],)
    return (Any,) if hint is Any else ()


def is_text(hints: Iterable[Any]) -> bool:
    """Return whether what is typed there is the value, character by character."""
    return any(_without_none(hint) is str for hint in hints)


def may_be_none(hints: Iterable[Any]) -> bool:
    return any(hint is Any or type(None) in get_args(hint) for hint in hints)


def fault(hints: Hints, value: object) -> str | None:
    """Say what a number or a truth value must be where ``value`` is none; others are left to OmegaConf."""
    kinds = {_without_none(hint) for hint in hints}
    if value is None and may_be_none(hints):
        return None
    if kinds == {bool} and not isinstance(value, bool):
        return "true or false"
    if isinstance(value, int) and kinds <= {int, float} and abs(value) >= 1 << 63:
        return "a number below 2**63"
    # OmegaConf would take true for 1, and digits of every script.
    odd = isinstance(value, (bool, str, list, dict))
    if kinds == {int} and (odd or isinstance(value, float)):
        return "a whole number"
    if kinds == {float} and odd:
        return "a number"
    return None


def misfit_of_all(key: str, value: object, hints: Hints) -> str | None:
    """Say how ``value`` misses the first of the types that it may have; None if it is of one, or if there are none."""
    problems = [misfit(key, value, hint) for hint in hints]
    return problems[0] if problems and all(problems) else None


def wanted(hints: Hints) -> str | None:
    """Say in words what a value must be, where the types that it may have tell."""
    bare = {_without_none(hint) for hint in hints}
    if len(bare) != 1 or bare == {Any}:
        return None
    (kind,) = bare
    if dataclasses.is_dataclass(kind) or get_origin(kind) is dict:
        return "a table of keys"
    if get_origin(kind) in (list, tuple):
        return "a list"
    return fault((kind,), []) or "text"


def misfit(key: str, value: object, hint: Any) -> str | None:
    """Say which part of ``value``, the content of ``key``, is not of its type: lists within lists, tables for texts."""
    bare = _without_none(hint)
    if value is None and not may_be_none((hint,)):
        return f"{key} must not be null"
    if bare is Any or value is None:
        return None
    inner: Iterable[tuple[str, object, Any]]
    if dataclasses.is_dataclass(bare) or get_origin(bare) is dict:
        if not isinstance(value, dict):
            return f"{key} must be a table of keys, not {_short(value)}"
        if odd := [name for name in value if not isinstance(name, str)]:
            return f"{key} must have names as keys, not {_short(odd[0])}"
        inner = ((f"{key}.{name}", each, below(bare, str(name))) for name, each in value.items())
    elif get_origin(bare) in (list, tuple):
        if not isinstance(value, list):
            kind = " of texts in quotes" if get_args(bare)[0] is str else "" if "]" in key else f", as in {key}=[0]"
            return f"{key} must be a list{kind}, not {_short(value)}"
        inner = ((f"{key}[{place}]", each, below(bare, str(place))) for place, each in enumerate(value))
    else:
        wanted = fault((bare,), value)
        if wanted is None and isinstance(value, (list, dict)):
            wanted = "one value"
        if wanted is None and bare is str and not isinstance(value, str):
            wanted = "a text"
        return None if wanted is None else f"{key} must be {wanted}, not {_short(value)}"
    parts = (misfit(name, each, kind) for name, each, hints in inner for kind in hints[:1])
    return next((found for found in parts if found), None)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(each for each in get_args(hint) if each is not type(None))
    return hint


@cache
def _fields(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
