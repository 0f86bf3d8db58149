"""The steps that a run has written, by their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(metrics: Path) -> dict[int, dict[str, Any]]:
    """Step -> values, in order, from ``metrics.jsonl`` and, where it is there, ``time.jsonl`` beside it.

    Whole lines only: the last one of a run that was killed, and what a full disk left, is no step. What a run that was
    started again wrote for a step twice counts once, as it was written last. Times are logged under ``time/``, where
    no number of a run's row can replace them.
    """
    found = _lines(metrics)
    for step, times in _lines(metrics.with_name("time.jsonl")).items():
        if step in found:
            found[step] |= {f"time/{name}": value for name, value in times.items() if name != "step"}
    return dict(sorted(found.items()))


def _lines(path: Path) -> dict[int, dict[str, Any]]:
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    found = {}
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and type(step := values.get("step")) is int and step >= 0:
            found[step] = values
    return found
