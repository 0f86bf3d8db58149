"""W&B's offline files of a sweep: one W&B run a run, and every step of it once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any


def steps(sweep: Path) -> dict[str, int]:
    """The steps of every done run of a sweep, by its id: lines of its metrics."""
    return {
        path.parent.name: path.read_bytes().count(b"\n")
        for path in sorted(sweep.glob("runs/*/metrics.jsonl"))
        if (path.parent / "result.json").is_file()
    }


def problems(directory: Path, wanted: dict[str, int]) -> list[str]:
    """List what is wrong with offline runs in ``directory``: each of ``wanted`` must be there with all steps."""
    places: dict[str, list[str]] = {}
    logged: dict[str, Counter[int]] = {}
    names: dict[str, set[str]] = {}
    said = []
    for path in sorted(directory.glob("offline-run-*/*.wandb")):
        records = _records(path)
        run = next((record["run"] for record in records if record["type"] == "run"), None)
        if run is None:
            said.append(f"wandb/{path.parent.name} has no run that could be read")
            continue
        places.setdefault(run["run_id"], []).append(path.parent.name)
        run_id = _value(run.get("config", {}).get("update", {}), "run_id")
        if run_id is not None:
            names.setdefault(run_id, set()).add(run["run_id"])
            history = (record["history"]["item"] for record in records if record["type"] == "history")
            logged.setdefault(run_id, Counter()).update(int(item["step"]) for item in history if "step" in item)
    said += [
        f"W&B run {identity} lies in {len(there)} directories" for identity, there in places.items() if len(there) > 1
    ]
    said += [f"run {run_id} is {len(ids)} W&B runs" for run_id, ids in names.items() if len(ids) > 1]
    for run_id, count in wanted.items():
        found = logged.get(run_id, Counter())
        if found != Counter(range(1, count + 1)):
            said.append(f"W&B has of run {run_id} the steps {_spans(found)}, not 1 to {count}, each once")
    return said


def _records(path: Path) -> list[dict[str, Any]]:
    inspected = subprocess.run(
        [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", path],
        capture_output=True,
        text=True,
        check=False,
    )
    records = []
    for line in inspected.stdout.splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:  # the last, of a file that was cut off
            continue
    return records


def _value(update: Any, key: str) -> Any:
    if isinstance(update, dict):
        return update.get(key)
    return next((item.get("value_json", item.get("value")) for item in update if item.get("key") == key), None)


def _spans(found: Counter[int]) -> str:
    return ", ".join(f"{step}×{times}" if times > 1 else str(step) for step, times in sorted(found.items())) or "none"
