"""The steps that a run has written, by their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from subnetray.store.metrics import STEP, key
from subnetray.store.results import TIMES


def read(metrics: Path) -> dict[int, dict[str, Any]]:
    """Step -> values by their keys in W&B, in order, from ``metrics.jsonl`` and, if it is there, ``time.jsonl``.

    Whole lines only: the last one of a run that was killed, and what a full disk left, is no step. What a run that was
    started again wrote for a step twice counts once, as it was written last.
    """
    found = _lines(metrics)
    for step, times in _lines(metrics.with_name(TIMES)).items():
        if step in found:
            found[step] |= times
    return {step: {key(name): value for name, value in values.items()} for step, values in sorted(found.items())}


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
        if isinstance(values, dict) and type(step := values.get(STEP)) is int and step >= 0:
            found[step] = values
    return found
