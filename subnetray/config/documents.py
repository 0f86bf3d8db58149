"""A user's own config files: strict YAML of a bounded size that takes nothing from elsewhere, and whose text is kept.

YAML makes numbers and truth values of words such as ``1870288932e0``, ``1.50`` and ``off``: where the schema says text,
as of the names of levels, they stay what they are. Interpolations, which could read the reader's environment, anchors
that multiply, keys that stand twice and other encodings are refused with the file and what to do.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from subnetray.config.checks import ConfigError
from subnetray.config.hints import COMMAND, Hints, below, fault, is_text, may_be_none
from subnetray.config.words import INTERPOLATION

_LARGEST = 1 << 20  # bytes
_NODES, _DEPTH = 50_000, 32
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)
_STRING, _NULL, _MERGE, _MAP = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "merge", "map"))
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "merge", "bool", "int", "float", "seq", "map")}
_TAGS |= {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
# Values of the kinds that YAML reads scalars as, by tag.
_SAMPLES = {_NULL: None, **{f"tag:yaml.org,2002:{type(each).__name__}": each for each in (True, 0, 0.0)}}


def names_in(directory: Path | Traversable) -> set[str]:
    """The names of the files of a group, without ``.yaml``."""
    if not directory.is_dir():
        return set()
    return {item.name.removesuffix(".yaml") for item in directory.iterdir() if item.name.endswith(".yaml")}


def read(path: Path, group: str, choices: set[str]) -> DictConfig:
    """The content of the file of a choice of ``group``; ``choices``: what its defaults may name.

    Raises ConfigError that names the file, and the line or the key.
    """
    text = _text(path)
    if (package := _PACKAGE.search(text)) and package[1] not in (group, "_group_"):
        raise ConfigError(f"{path}: # @package must be {group}, or left out, not {package[1]}")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        hints = COMMAND[group]
        content = _Copy(path, choices).table(node, hints) if node is not None else yaml.MappingNode(_MAP, [])
        config = OmegaConf.create(yaml.serialize(content, Dumper=yaml.SafeDumper))
    except ConfigError:
        raise
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_explain(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply: at most {_DEPTH} levels are read") from error
    except ValueError as error:  # of an integer of thousands of digits
        raise ConfigError(f"{path} holds a number that cannot be read: {error}") from error
    assert isinstance(config, DictConfig)
    return config


def _text(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"{path} must be a file of YAML")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise ConfigError(f"{path} is larger than {_LARGEST >> 20} MiB, which no config is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} is not UTF-8 (line {line}): save it in this encoding") from error


def _explain(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return " ".join(str(error).split())
    words = str(problem).replace("found character '\\t' that", "a tab")
    return f"line {mark.line + 1}: {words}"


@dataclass
class _Copy:
    """Copies a tree of YAML's nodes without its anchors, by the schema's hints."""

    path: Path
    choices: set[str]
    nodes: int = 0

    def table(self, node: yaml.Node, hints: Hints) -> yaml.Node:
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{self.path} must hold a table of keys, not {_kind(node)}")
        return self._copy(node, hints, ())

    def _copy(self, node: yaml.Node, hints: Hints, key: tuple[str, ...]) -> yaml.Node:
        self.nodes += 1
        if self.nodes > _NODES or len(key) > _DEPTH:
            raise ConfigError(
                f"{self.path} holds too much: at most {_NODES} values, {_DEPTH} levels deep, anchors written out"
            )
        if node.tag not in _TAGS:
            raise self._error(node, key, f"has the tag {node.tag}: write text, numbers, lists and tables alone")
        if isinstance(node, yaml.MappingNode):
            return yaml.MappingNode(node.tag, self._pairs(node, hints, key))
        if isinstance(node, yaml.SequenceNode):
            inner = tuple(each for hint in hints for each in below(hint, "0"))
            items = [self._copy(each, inner, (*key, str(index))) for index, each in enumerate(node.value)]
            return yaml.SequenceNode(node.tag, items)
        return self._scalar(node, hints, key)

    def _pairs(self, node: yaml.MappingNode, hints: Hints, key: tuple[str, ...]) -> list[tuple[yaml.Node, yaml.Node]]:
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self._error(name, key, f"must have names for keys, not {_kind(name)}")
            if name.value in pairs:
                raise self._error(name, (*key, name.value), "stands there twice")
            own = (*key, name.value)
            if own == ("defaults",):
                self._check_defaults(value)
                inner: Hints = ()
            else:
                inner = hints if name.tag == _MERGE else tuple(each for hint in hints for each in below(hint, own[-1]))
            as_text = () if name.tag == _MERGE or (hints and hints[0] is Any) else (str,)
            pairs[name.value] = self._scalar(name, as_text, own), self._copy(value, inner, own)
        return list(pairs.values())

    def _scalar(self, node: yaml.Node, hints: Hints, key: tuple[str, ...]) -> yaml.Node:
        if INTERPOLATION.search(node.value):
            what = "holds ${…}, and nothing is taken from the environment or from other keys: write the value itself"
            raise self._error(node, key, what)
        if want := fault(hints, _sample(node)):
            raise self._error(node, key, f"must be {want}, not {node.value[:80]!r}")
        if node.tag == _STRING or (is_text(hints) and not (node.tag == _NULL and may_be_none(hints))):
            # Numbers that only OmegaConf takes for such stay bare.
            quoted = is_text(hints) or getattr(node, "style", None) is not None
            return yaml.ScalarNode(_STRING, node.value, style='"' if quoted else None)
        return yaml.ScalarNode(node.tag, node.value)

    def _check_defaults(self, node: yaml.Node) -> None:
        entries = [each.value for each in node.value] if isinstance(node, yaml.SequenceNode) else [None]
        for entry in entries:
            if not isinstance(entry, str) or entry not in (*self.choices, "_self_"):
                names = ", ".join((*sorted(self.choices), "_self_"))
                shown = entry if isinstance(entry, str) else _kind(node)
                raise self._error(node, ("defaults",), f"must be a list of {names}, and holds {shown[:80]!r}")

    def _error(self, node: yaml.Node, key: tuple[str, ...], what: str) -> ConfigError:
        line = node.start_mark.line + 1 if node.start_mark is not None else 1
        return ConfigError(f"{self.path}: line {line}: {'.'.join(key)[:120] or 'it'} {what}")


def _sample(node: yaml.Node) -> Any:
    """A value of the kind that OmegaConf reads a scalar as: of text that is a number, this number."""
    if node.tag in _SAMPLES or not node.value.isascii():
        return _SAMPLES.get(node.tag, node.value)
    for kind in (int, float):
        with suppress(ValueError):
            return kind(node.value)
    return node.value


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a table"
    return "a list" if isinstance(node, yaml.SequenceNode) else repr(node.value[:80])
