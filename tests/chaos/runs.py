"""Watch which runs are done, from outside: none may be lost, and none that is whole be run again."""

from __future__ import annotations

import json
import threading
from pathlib import Path

_FILES = ("config.yaml", "metrics.jsonl", "mask.safetensors", "delta.safetensors")


class Runs:
    """The results seen under ``out``, from the first look to the last."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._written: dict[str, tuple[int, int]] = {}  # inode and time of the result that was seen last
        self._done: dict[str, bool] = {}
        self._damaged: set[str] = set()
        self._lock = threading.Lock()
        self.repeated: list[str] = []  # whole, and yet run again
        self.lost: list[str] = []  # whole, and then not there any more, or not done

    @property
    def done(self) -> list[str]:
        """The runs whose result says so, in the order that they were first seen in."""
        return [run_id for run_id, done in self._done.items() if done]

    def damaged(self, run_id: str) -> None:
        """The run may be run again, as a file of it is not what it was."""
        with self._lock:
            self._damaged.add(run_id)

    def look(self) -> None:
        """Look at every result that is new."""
        with self._lock:
            seen = set()
            for path in self._out.glob("runs/*/result.json"):
                try:
                    status = path.stat()
                    written = (status.st_ino, status.st_mtime_ns)
                    run_id = path.parent.name
                    if self._written.get(run_id) != written:
                        self._see(run_id, path, written)
                except OSError:
                    continue
                seen.add(run_id)
            for run_id in [each for each, done in self._done.items() if done and each not in seen]:
                self._end(run_id)

    def _see(self, run_id: str, path: Path, written: tuple[int, int]) -> None:
        done = _says_done(path) and all((path.parent / name).is_file() for name in _FILES)
        before = self._done.get(run_id, False)
        if before and not done:
            self._end(run_id)
        elif before and run_id not in self._damaged:
            self.repeated.append(run_id)
        self._damaged.discard(run_id)
        self._done[run_id] = done
        self._written[run_id] = written

    def _end(self, run_id: str) -> None:
        if run_id not in self._damaged:
            self.lost.append(run_id)
        self._done[run_id] = False


def _says_done(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes())["status"] == "done")
    except (ValueError, KeyError, TypeError):
        return False
