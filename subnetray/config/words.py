"""The words of a command line, and of lists of overrides in files: Hydra's syntax, but text is what was typed.

Hydra reads ``1_000`` and ``1e5`` as numbers, and takes ``=``, ``,``, ``#`` or an umlaut only in quotes. Where the
schema says that a key holds text, its value is quoted here before Hydra reads it, unless it is quoted already.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString
from hydra.errors import HydraException

from subnetray.config.checks import ConfigError
from subnetray.config.hints import COMMAND, Hints, Schema, below, fault, hints_at, is_text, may_be_none

GROUPS = ("algorithm", "cluster", "grid", "model", "recipe", "rollout", "task", "tracking")

# Hydra's reader takes a second for as many characters; what is longer belongs in a file.
_LONGEST = 8192
_DEEPEST = 32
_WORD = re.compile(r"(?P<sign>\+\+?|~)?(?P<key>[^=]*)(?P<value>=.*)?", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
# An interpolation, unless the dollar is escaped.
INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")


def parse(overrides: Sequence[str], schema: Schema = COMMAND) -> list[Override]:
    """Parsed overrides, whose ``input_line`` is what was typed. Raises ConfigError naming the word that is none."""
    return [_parse(text, _Same(schema)) for text in overrides]


def typed(override: Override) -> str:
    """Return the value as it was typed, for a sentence."""
    return str(override.input_line).partition("=")[2]


def hydra_text(override: Override) -> str:
    """The choice of a config as Hydra reads it."""
    sign = {OverrideType.ADD: "+", OverrideType.FORCE_ADD: "++"}.get(override.type, "")
    return f"{sign}{override.key_or_group}={QuotedString(str(override.value()), Quote.single).with_quotes()}"


class _Same:
    """A schema as a key of the cache: by identity."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.schema is self.schema


@lru_cache(maxsize=4096)
def _parse(text: str, same: _Same) -> Override:
    match = _WORD.fullmatch(text)
    key = "" if match is None else match["key"]
    short = text if len(text) <= 80 else f"{text[:79]}…"
    if match is None or not key or "@" in key or (match["value"] is None and match["sign"] != "~"):
        raise ConfigError(f"{short!r} is no override: write key=value, or +grid=NAME")
    if len(text) > _LONGEST:
        raise ConfigError(f"{key} is given {len(text)} characters: write what has more than {_LONGEST} in a file")
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ConfigError(f"{short!r} is not UTF-8: bytes of another encoding are not read")
    if "\0" in text:
        raise ConfigError(f"{short!r} holds the character NUL, which nothing can be called by")
    if INTERPOLATION.search(text):
        raise ConfigError(
            f"{key}: ${{…}} is not read, as nothing is taken from the environment or from other keys: write the value"
        )
    hints: Hints = (str,) if key in GROUPS and key in same.schema else hints_at(same.schema, key.split("."))
    if not is_text(hints) and _depth(text) > _DEEPEST:
        raise ConfigError(f"{key} is nested too deeply: at most {_DEEPEST} brackets within each other are read")
    line = text if match["value"] is None else f"{match['sign'] or ''}{key}={_quote(match['value'][1:], hints)}"
    try:
        override = OverridesParser.create().parse_override(line)
    except (HydraException, RecursionError, ValueError) as error:  # ValueError: an integer of thousands of digits
        raise ConfigError(_unreadable(short, key, match["value"], hints)) from error
    override.input_line = text
    _check_type(override, hints)
    return override


def _unreadable(short: str, key: str, value: str | None, hints: Hints) -> str:
    if value is None or not re.fullmatch(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*", key):
        return f"{short!r} is no override: write key=value, or +grid=NAME"
    quoted = QuotedString(value[1:], Quote.single).with_quotes()
    shown = f"{key}={quoted}" if len(quoted) <= 80 else f"{key}='…'"
    listed = any(below(hint, "0") for hint in hints)
    want = fault(hints, []) or ("a list, as in [a,b]" if listed else "a value, with text in quotes")
    return f'{short!r} is no override: {key} must be {want}; what it holds is quoted as in "{shown}"'


def _check_type(override: Override, hints: Hints) -> None:
    key = override.key_or_group
    if override.is_sweep_override():
        raise ConfigError(f"{key} takes one value, or a list in brackets: what varies is a factor of the grid")
    if override.type == OverrideType.DEL or is_text(hints):
        return
    value = override.value()
    if want := fault(hints, value):
        raise ConfigError(f"{key} must be {want}, not {typed(override)[:80]!r}")
    inner = tuple(each for hint in hints for each in below(hint, "0"))
    for item in value if isinstance(value, list) else ():
        if not is_text(inner) and (want := fault(inner, "" if item is None else item)):
            raise ConfigError(f"{key} must be a list of {want.removeprefix('a ')}s, and holds {str(item)[:80]!r}")


def _quote(text: str, hints: Hints) -> str:
    """``text`` with quotes around what the schema calls text, wherever in a list or a table that stands."""
    stripped = text.strip()
    if is_text(hints):
        if _QUOTED.fullmatch(stripped) or (text == "null" and may_be_none(hints)):
            return stripped
        return QuotedString(text, Quote.single).with_quotes()
    if len(stripped) < 2 or stripped[0] + stripped[-1] not in ("[]", "{}"):
        return text
    parts = list(_split(stripped[1:-1], ","))
    if not all(part.strip() for part in parts):
        return text
    if stripped[0] == "[":
        inner = tuple(each for hint in hints for each in below(hint, "0"))
        return f"[{','.join(_quote(part.strip(), inner) for part in parts)}]"
    return f"{{{','.join(_quote_pair(part, hints) for part in parts)}}}"


def _quote_pair(text: str, hints: Hints) -> str:
    name, *rest = _split(text, ":")
    if not rest:
        return text
    inner: tuple[Any, ...] = tuple(each for hint in hints for each in below(hint, name.strip()))
    return f"{name}:{_quote(':'.join(rest).strip(), inner)}"


def _depth(text: str) -> int:
    """Count the brackets that are open at most."""
    return max(itertools.accumulate((each in "[{(") - (each in "]})") for each in text), default=0)


def _split(text: str, separator: str) -> Iterator[str]:
    """Parts between separators that stand in no quotes and no brackets; a quote within a word is none."""
    depth, begin, index, opens = 0, 0, 0, True
    while index < len(text):
        each = text[index]
        if opens and each in "'\"" and (quoted := _QUOTED.match(text, index)):
            index, opens = quoted.end(), False
            continue
        depth += (each in "[{(") - (each in "]})")
        if each == separator and depth <= 0:
            yield text[begin:index]
            begin = index + 1
        opens = each in "[{(,:=" or (opens and each.isspace())
        index += 1
    if text:
        yield text[begin:]
