"""The keys of every config, read off the schema: type, range, default and meaning of each.

The meaning is the comment at the field; the range is what the check of a value that cannot be says. So both are
declared once. ``python -m subnetray.config.reference > docs/keys.md`` writes the page.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import re
import tokenize
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Union, get_args, get_origin, get_type_hints

from subnetray.config import ALGORITHMS, ConfigError
from subnetray.config.compose import SCHEMAS, Composer
from subnetray.config.documents import names_in
from subnetray.config.hints import COMMAND
from subnetray.config.pairs import PairGrid
from subnetray.config.run import RunConfig
from subnetray.config.sweep import SweepConfig
from subnetray.config.words import GROUPS

_HEAD = """# All keys

Every key of a command line, as in `algorithm.lr=1e-5`, with its default: made by `python -m subnetray.config.reference`
from the schema. `python -m subnetray.explain KEY` says the same of one, and `python -m subnetray.explain` lists them.
"""


@dataclass(frozen=True)
class Key:
    """One key of a command line; ``owner`` is the choice that has it, as ``dpo``, or empty.

    ``default``: as it is typed; None where a value must be given. ``wanted``: what a value must be.
    """

    name: str
    owner: str
    wanted: str
    default: str | None
    meaning: str

    def __str__(self) -> str:
        owner = f"  ({self.owner})" if self.owner else ""
        default = "must be given" if self.default is None else f"default {self.default}"
        lines = [f"{self.name}{owner}", f"    {self.wanted}; {default}"]
        return "\n".join([*lines, f"    {self.meaning}"] if self.meaning else lines)


@dataclass(frozen=True)
class Section:
    """The keys that begin alike; ``choices`` are names of configs, of which ``NAME=CHOICE`` takes one."""

    name: str
    about: str
    choices: tuple[str, ...]
    keys: tuple[Key, ...]


@cache
def sections() -> tuple[Section, ...]:
    """Every section of a command line, those of the command itself first."""
    found = [Section("", "What a command does, and where its results go", (), tuple(_of_command()))]
    for name, kinds in COMMAND.items():
        schemas = [
            kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not PairGrid
        ]
        if not schemas or name == "recipe":
            continue
        keys = [key for kind in schemas for key in _of_schema(name, kind, several=len(schemas) > 1)]
        choices = tuple(sorted(names_in(files("subnetray.conf") / name))) if name in GROUPS else ()
        about = "" if len(schemas) > 1 else _first_line(schemas[0])
        found.append(Section(name, about, choices, tuple(_once(keys))))
    return tuple(found)


def _once(keys: list[Key]) -> Iterator[Key]:
    """Those that several schemas have in common once, with all their owners; in the order of the first of them."""
    same: dict[tuple[str, str, str | None, str], list[str]] = {}
    for key in keys:
        same.setdefault((key.name, key.wanted, key.default, key.meaning), []).append(key.owner)
    for (name, wanted, default, meaning), owners in same.items():
        yield Key(name, "" if {*owners} >= {*ALGORITHMS} else ", ".join(filter(None, owners)), wanted, default, meaning)


def _of_schema(section: str, kind: type, several: bool) -> Iterator[Key]:
    hints, comments = get_type_hints(kind), _comments(kind)
    for field in dataclasses.fields(kind):
        if field.name == "name" and section in GROUPS:
            continue  # the name of the choice
        default = None
        if field.default is not dataclasses.MISSING:
            default = _typed(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = _typed(field.default_factory())
        key = f"{section}.{field.name}"
        owner = _owner(kind) if several else ""
        yield Key(key, owner, _wanted(key, kind, field.name, hints[field.name]), default, comments.get(field.name, ""))


def _of_command() -> Iterator[Key]:
    """The keys of conf/config.yaml that are in no section, whose comments stand beside them."""
    hints = get_type_hints(SweepConfig) | get_type_hints(RunConfig)
    for line in (files("subnetray.conf") / "config.yaml").read_text().splitlines():
        if match := re.fullmatch(r"(\w+): ([^#\s]+)(?:\s+# (.*))?", line):
            name, default, meaning = match.groups()
            kind = RunConfig if name in get_type_hints(RunConfig) else SweepConfig
            yield Key(name, "", _wanted(name, kind, name, hints[name]), default, meaning or "")


def _owner(kind: type) -> str:
    names = {schema: name for kinds in SCHEMAS.values() for name, schema in kinds.items()}
    return names[kind].removeprefix("schema_")


def _first_line(kind: Any) -> str:
    return (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")


@cache
def _comments(kind: type) -> Mapping[str, str]:
    """The comment of each field of a dataclass and of those that it extends: above it, beside it, or both."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        own: dict[str, str] = {}
        above: list[str] = []
        name = ""
        for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(base)).readline):
            text = token.string.lstrip("# ")
            if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
                above.append(text)
            elif token.type == tokenize.COMMENT and name:
                own[name] = " ".join(filter(None, [own.get(name, ""), text]))
            elif token.type == tokenize.NAME and re.match(rf"    {token.string}: ", token.line) and token.start[1] == 4:
                name = token.string
                if above:
                    own[name] = " ".join(above)
                above = []
            elif token.type == tokenize.NEWLINE:
                above, name = [], ""
        found |= own
    return found


# One, and several, of a type.
_NAMED: Mapping[Any, tuple[str, str]] = {
    str: ("text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "truth values"),
}


def _wanted(key: str, kind: type, name: str, hint: Any) -> str:
    """What a value must be, in words."""
    found = _range(key, kind, name, hint)
    if found is None:
        return _words(hint)
    if int in (hint, *get_args(hint)):
        found = found.replace("a finite number", "a whole number")
    return f"{found}, or null" if _optional(hint) else found


def _words(hint: Any, many: bool = False) -> str:
    arguments = [each for each in get_args(hint) if each is not type(None)]
    if _optional(hint):
        return " or ".join([*map(_words, arguments), "null"])
    if get_origin(hint) in (list, tuple):
        return f"{'lists' if many else 'a list'} of {_words(arguments[0], many=True)}"
    if get_origin(hint) is dict or dataclasses.is_dataclass(hint):
        return "tables of keys" if many else "a table of keys"
    return _NAMED.get(hint, ("any value", "values"))[many]


def _optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


# Values that hardly any check takes, by type.
_ODD: Mapping[Any, tuple[Any, ...]] = {str: ("\x7f",), int: (-(10**9), 10**15), float: (-1e300, float("inf"))}


def _range(key: str, kind: type, name: str, hint: Any) -> str | None:
    """What the check of a value that cannot be says that it must be; None where there is no check."""
    kinds = [each for each in get_args(hint) if each is not type(None)] if _optional(hint) else [hint]
    for odd in _ODD.get(kinds[0], ()):
        try:
            dataclasses.replace(_example(kind), **{name: odd})
        except ConfigError as error:
            if match := re.match(rf"{re.escape(key)} must be (.*), not ", str(error)):
                return match[1]
    return None


@cache
def _example(kind: type) -> Any:
    """A whole config of a kind."""
    if kind in (SweepConfig, RunConfig):
        sweep = Composer().sweep([])
        return sweep if kind is SweepConfig else sweep.run
    missing = {
        field.name: "x"
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    return kind(**missing)


def _typed(value: Any) -> str:
    """A default as it is typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if f"{float(f'{value:g}')}" == f"{value}" else repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_typed, value))}]"
    if isinstance(value, dict):
        return "{}" if not value else str(value)
    return str(value) if value != "" else "''"


def page() -> str:
    """The page docs/keys.md."""
    lines = [_HEAD]
    for section in sections():
        lines.append(f"## {f'`{section.name}`' if section.name else 'The command'}\n")
        if section.about:
            lines.append(f"{section.about[0].upper()}{section.about[1:].rstrip('.')}.\n")
        if section.choices:
            lines.append(f"`{section.name}=` takes one of {', '.join(f'`{each}`' for each in section.choices)}.\n")
        owned = any(key.owner for key in section.keys)
        lines.append(f"| Key |{' Of |' if owned else ''} Value | Default | Meaning |")
        lines.append(f"| --- |{' --- |' if owned else ''} --- | --- | --- |")
        for key in section.keys:
            default = "–" if key.default is None else f"`{key.default}`"
            cells = [f"`{key.name}`", *([key.owner or "all"] if owned else []), key.wanted, default, key.meaning]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
