"""The files of one run: their names, and the ``result.json`` that vouches for the others.

``result.json`` is written last. It lists size and SHA-256 of every other file that does not hold times, and has a
digest of itself, so that a run is done if and only if all of it is as it was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from stat import S_ISREG
from typing import Any

from subnetray.files import read_whole, regular, remove_unfinished, write_atomic

RESULT, CONFIG, METRICS = "result.json", "config.yaml", "metrics.jsonl"
MASK, DELTA, RESTRICTION = "mask.safetensors", "delta.safetensors", "restriction.safetensors"
# What differs from one execution of a run to the next.
TIME, TIMES = "time.json", "time.jsonl"
_EARLY = "early-*.safetensors"
_CHECKPOINT = "checkpoint/state.safetensors"
_DOING = ".doing"
TRAINS = "trains"  # what a run does whose steps can be counted
_NAMES = (RESULT, CONFIG, METRICS, MASK, DELTA, RESTRICTION, TIME, TIMES)
_DIGEST = "digest"
_CHUNK = 1 << 22

Stats = list[list[Any]]  # of each file: name, size, mtime and ctime in ns, inode


@dataclass(frozen=True)
class State:
    """The state of a run's directory. ``status``: missing, done, failed, or damaged, with a ``reason``.

    ``stats``: what the files of a done run looked like when they were read.
    """

    status: str
    result: dict[str, Any] | None = None
    reason: str | None = None
    stats: Stats | None = None


def of_run(directory: Path) -> list[Path]:
    """The files in a run's directory that runs write, sorted."""
    named = [directory / name for name in _NAMES]
    return sorted(path for path in (*named, *directory.glob(_EARLY)) if path.is_file() or path.is_symlink())


def checkpoint(directory: Path) -> Path:
    """Return the file in which a run that is not done yet keeps what it needs to go on."""
    return directory / _CHECKPOINT


def unfinished(directory: Path) -> list[Path]:
    """The files that there are of a run that was not done: its checkpoint, and the note of what it did."""
    return [path for path in (checkpoint(directory), directory / _DOING) if path.is_file()]


def note_doing(directory: Path, words: str) -> None:
    """Note in a few words what a run does from now on, for who waits for it; a disk that takes nothing is no matter."""
    with suppress(OSError):
        (directory / _DOING).write_text(words, encoding="utf-8")


def doing(directory: Path) -> str:
    """Return what a run that is not done has noted that it does; empty if it has not yet."""
    try:
        return read_whole(directory / _DOING).decode()
    except (OSError, ValueError):
        return ""


def clear(directory: Path, keep: Collection[Path] = ()) -> None:
    """Remove what an earlier execution of a run left, its result first; other files stay, as do those to ``keep``."""
    (directory / RESULT).unlink(missing_ok=True)
    (directory / _DOING).unlink(missing_ok=True)
    for path in of_run(directory):
        if path not in keep:
            path.unlink()
    remove_unfinished(directory)
    if checkpoint(directory) not in keep:
        forget(directory)


def forget(directory: Path) -> None:
    """Remove what a run needs that goes on: its checkpoint, and the note of what it does."""
    (directory / _DOING).unlink(missing_ok=True)
    path = checkpoint(directory)
    path.unlink(missing_ok=True)
    remove_unfinished(path.parent)
    with suppress(OSError):  # where there is none, and where others keep files in it
        path.parent.rmdir()


def write(directory: Path, values: Mapping[str, Any]) -> None:
    """Write the ``result.json`` of a run whose other files are complete."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in of_run(directory)
        if path.name not in (RESULT, TIME, TIMES)
    }
    content = {**values, "files": files}
    write_atomic(directory / RESULT, json.dumps({**content, _DIGEST: digest(content)}, indent=1))


def read(directory: Path) -> dict[str, Any] | None:
    """The ``result.json`` of a run, None while there is none. Raises ValueError, with a reason, if it is damaged."""
    try:
        content = json.loads(read_whole(directory / RESULT))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        raise ValueError(f"its {RESULT} is not readable") from None
    except OSError as error:
        raise ValueError(f"its {RESULT} cannot be read ({error.strerror})") from None
    if not isinstance(content, dict) or content.get("status") not in ("done", "failed") or "error" not in content:
        raise ValueError(f"its {RESULT} is not one of a run")
    noted = content.pop(_DIGEST, None)
    if noted is None:
        raise ValueError(f"its {RESULT} is of an earlier version, which noted no digests of files")
    if noted != digest(content):
        raise ValueError(f"its {RESULT} was changed after it was written")
    return content


def inspect(directory: Path, known: Stats | None = None) -> State:
    """Return the state of a run's directory, every file of a done run looked at.

    ``known``: the ``stats`` of an earlier look; files that still look the same are not read again.
    """
    try:
        result = read(directory)
        if result is None:
            return State("missing")
        if result["status"] == "failed":
            return State("failed", result)
        files = _listed(result)
        stats = _stats(directory, files)
        if stats != known:
            _verify(directory, files)
    except ValueError as error:
        return State("damaged", reason=str(error))
    except OSError as error:
        return State("damaged", reason=f"its files cannot be read ({error.strerror})")
    return State("done", result, stats=stats)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex, read in parts."""
    found = hashlib.sha256()
    with regular(path).open("rb") as file:
        while part := file.read(_CHUNK):
            found.update(part)
    return found.hexdigest()


def digest(content: Any) -> str:
    """SHA-256 of JSON content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _listed(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the files that a result lists. Raises ValueError unless they are files that runs write."""
    files = result.get("files")
    if not isinstance(files, dict) or not all(map(_is_listed, files.items())):
        raise ValueError(f"its {RESULT} does not list the files of a run")
    return files


def _is_listed(entry: tuple[str, Any]) -> bool:
    name, noted = entry
    ours = name in _NAMES or (fnmatchcase(name, _EARLY) and "/" not in name)
    return ours and isinstance(noted, dict) and {"bytes", "sha256"} <= noted.keys()


def _stats(directory: Path, files: Iterable[str]) -> Stats:
    found: Stats = []
    for name in sorted((*files, RESULT)):
        try:
            stat = (directory / name).stat()
        except FileNotFoundError:
            raise ValueError(f"its {name} is missing") from None
        if not S_ISREG(stat.st_mode):
            raise ValueError(f"its {name} is no file")
        found.append([name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return found


def _verify(directory: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, noted in files.items():
        path = directory / name
        if path.stat().st_size != noted["bytes"]:
            raise ValueError(f"its {name} has {path.stat().st_size} bytes, not the {noted['bytes']} that were written")
        if sha256(path) != noted["sha256"]:
            raise ValueError(f"its {name} is damaged: its SHA-256 is not the one noted when it was written")
