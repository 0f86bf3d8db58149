"""Track the files that are derived from runs: tables, claims, figures and reports.

A stamp says from which runs they were made and what was written. They are made again whenever it does not hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from subnetray import __version__
from subnetray.files import read_whole, write_atomic
from subnetray.store.results import digest, sha256

RUNS, OVERLAP, TIMES, CLAIMS = "runs.parquet", "overlap.parquet", "time.parquet", "claims.json"
REPORT, PAGE, TIME, BUDGET = "report.md", "report.html", "time.json", "time.md"
_STAMP = ".derived.json"
_NAMES = (RUNS, OVERLAP, TIMES, CLAIMS, REPORT, PAGE, TIME, BUDGET, _STAMP)
_FOLDERS = ("figures", "tables")
# Raise it whenever the same runs would give other files than before.
_VERSION = 2


def written(directory: Path) -> list[Path]:
    """The derived files that are there, sorted: those of fixed names, and those that the last stamp lists."""
    names = {*_NAMES, *_read(directory).get("files", {})}
    return sorted(path for name in names if _inside(name) and (path := directory / name).is_file())


def misplaced(directory: Path) -> str | None:
    """Return what stands where a sweep writes something else, as a directory in place of a table; None for nothing."""
    for name in (*_NAMES, *_FOLDERS):
        path = directory / name
        if path.is_dir() != (name in _FOLDERS) and (path.is_dir() or path.exists()):
            kind, other = ("directory", "file") if path.is_dir() else ("file", "directory")
            return f"{path} is a {kind}, where a sweep has a {other} of this name: move it away"
    return None


def is_fresh(directory: Path, inputs: Any) -> bool:
    """Return whether all that was derived from ``inputs`` (JSON content) is there as it was written."""
    stamp = _read(directory)
    if stamp.get("inputs") != _key(inputs) or not stamp.get("files"):
        return False
    try:
        return all(_inside(name) and sha256(directory / name) == noted for name, noted in stamp["files"].items())
    except OSError:
        return False


def stamp(directory: Path, inputs: Any, made: Iterable[Path]) -> None:
    """Note that the files ``made`` were derived from ``inputs``; earlier ones that were not made again are removed."""
    before = _read(directory).get("files", {})
    names = sorted(path.relative_to(directory).as_posix() for path in made)
    content = {"inputs": _key(inputs), "files": {name: sha256(directory / name) for name in names}}
    write_atomic(directory / _STAMP, json.dumps(content, indent=1))
    for name in set(before).difference(names):
        if _inside(name):
            (directory / name).unlink(missing_ok=True)


def begin(directory: Path) -> None:
    """Forget that derived files are fresh, as runs are about to change; nothing else is touched."""
    stamp_file = directory / _STAMP
    if stamp_file.is_file():
        write_atomic(stamp_file, json.dumps({"files": _read(directory).get("files", {})}, indent=1))


def _read(directory: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_whole(directory / _STAMP))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or not isinstance(content.get("files", {}), dict):
        return {}
    return content


def _key(inputs: Any) -> str:
    return digest([_VERSION, __version__, inputs])


def _inside(name: Any) -> bool:
    """Whether a name in a stamp is one that a sweep writes: a stamp is a file like any other, and may be anybody's."""
    if not isinstance(name, str):
        return False
    parts = name.split("/")
    return name in _NAMES or (len(parts) == 2 and parts[0] in _FOLDERS and parts[1] not in ("", ".", ".."))
