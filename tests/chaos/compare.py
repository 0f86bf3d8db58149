"""Compare two sweeps' directories, byte for byte but for times."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

# Files of times; W&B's directory, which has a check of its own, is left out as well, as are files whose names begin
# with a dot, which are the sweep's own affair (locks, what it has looked at).
TIMES = frozenset(("time.json", "time.jsonl", "time.parquet", "time.md"))
_TRACKED = "wandb"
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}")  # what a write that was cut off leaves, as mkstemp names it
_CUT = 200  # of a sentence
_LONG = 60  # of a text that it cites


def compared(directory: Path) -> dict[str, Path]:
    """The files that count, by their names relative to ``directory``."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if path.is_file() and path.name not in TIMES and name.parts[0] != _TRACKED and not _hidden(name):
            found[str(name)] = path
    return found


def differences(expected: Path, found: Path) -> list[str]:
    """A sentence for every file that differs, is missing or is there for no reason; none if the two are equal."""
    left, right = compared(expected), compared(found)
    said = [f"{name} is missing" for name in sorted(left.keys() - right.keys())]
    said += [f"{name} should not be there" for name in sorted(right.keys() - left.keys())]
    for name in sorted(left.keys() & right.keys()):
        one, other = left[name].read_bytes(), right[name].read_bytes()
        if one != other:
            said.append(f"{name} differs: {_explain(Path(name).suffix, left[name], right[name])[:_CUT]}")
    return said


def unfinished(directory: Path) -> list[str]:
    """List what is left of work in progress: temporary files, and directories whose names begin with a dot."""
    return [
        str(path.relative_to(directory))
        for path in sorted(directory.rglob(".*"))
        if path.relative_to(directory).parts[0] != _TRACKED
        and (path.is_dir() or _UNFINISHED.fullmatch(path.name))
        and not _hidden(path.relative_to(directory).parent)
    ]


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _explain(suffix: str, expected: Path, found: Path) -> str:
    """Say where two files begin to differ; a file that cannot be read is told by its bytes."""
    for ways in _WAYS.get(suffix, ()), (_lines,), (_bytes,):
        for way in ways:
            try:
                if said := way(expected, found):
                    return said
            except (ValueError, KeyError, OSError):
                continue
    return "its bytes"


def _bytes(expected: Path, found: Path) -> str:
    one, other = expected.read_bytes(), found.read_bytes()
    return f"{len(one)} bytes became {len(other)}, and byte {_first(one, other)} is the first that is another"


def _first(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The place of the first item that differs."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _lines(expected: Path, found: Path) -> str | None:
    lines = itertools.zip_longest(expected.read_text().splitlines(), found.read_text().splitlines())
    for number, (one, other) in enumerate(lines, 1):
        if one is None or other is None:
            return f"line {number} is {_short(other)}, not {_short(one)}"
        if one != other:
            same = _first(one, other)
            start = max(0, same - 20) if max(len(one), len(other)) > _LONG else 0
            dots = "..." if start else ""
            return f"line {number} is {dots}{_short(other[start:])}, not {dots}{_short(one[start:])}"
    return None


def _json(expected: Path, found: Path) -> str | None:
    for place, one, other in _walk("", json.loads(expected.read_bytes()), json.loads(found.read_bytes())):
        return f"{place or 'it'} is {_short(other)}, not {_short(one)}"
    return "the same values in other bytes"


def _json_lines(expected: Path, found: Path) -> str | None:
    lines = [[json.loads(line) for line in path.read_text().splitlines()] for path in (expected, found)]
    for place, one, other in _walk("", *lines):
        return f"{place} is {_short(other)}, not {_short(one)}"
    return "the same values in other bytes"


def _walk(place: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from _walk(f"{place}.{key}".lstrip("."), one.get(key, "nothing"), other.get(key, "nothing"))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _walk(f"{place}[{index}]", a, b)
    elif one != other and not (one != one and other != other):
        yield place, one, other


def _parquet(expected: Path, found: Path) -> str | None:
    one, other = pq.read_table(expected), pq.read_table(found)
    if one.num_rows != other.num_rows:
        return f"{other.num_rows} rows, not {one.num_rows}"
    if one.schema != other.schema:
        names = set(one.column_names) ^ set(other.column_names)
        return f"other columns: {', '.join(sorted(names)) or 'their order or types'}"
    columns = [name for name in one.column_names if one[name] != other[name]]
    if not columns:
        return "the same values in other bytes"
    rows = list(zip(one[columns[0]].to_pylist(), other[columns[0]].to_pylist(), strict=True))
    row, (a, b) = next((row, pair) for row, pair in enumerate(rows) if pair[0] != pair[1])
    return f"{len(columns)} columns, first {columns[0]} of row {row}: {_short(b)}, not {_short(a)}"


def _safetensors(expected: Path, found: Path) -> str | None:
    heads, bodies = [], []
    for path in (expected, found):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        heads.append(json.loads(data[8 : 8 + size]))
        bodies.append(data[8 + size :])
    for place, one, other in _walk("", *heads):
        return f"{place} of its header is {_short(other)}, not {_short(one)}"
    return "its tensors" if bodies[0] != bodies[1] else "the same header and tensors, its header in other bytes"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "nothing" if value is None else text if len(text) <= _LONG else text[: _LONG - 3] + "..."


_WAYS: dict[str, tuple[Callable[[Path, Path], str | None], ...]] = {
    ".json": (_json,),
    ".jsonl": (_json_lines,),
    ".parquet": (_parquet,),
    ".safetensors": (_safetensors,),
    ".png": (_bytes,),
}
