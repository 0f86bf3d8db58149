"""Shared by the tests of tracking: runs with files but no training, and a reader of W&B's offline directories."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from subnetray.config import Tracking
from subnetray.driver.tracking import RunFiles, Tracker
from subnetray.grid import Plan, Run
from subnetray.reporting.findings import Findings
from tests.driver.sweeps import make_plan

_BLOCK = 32768


@functools.cache
def sweep_plan() -> Plan:
    return make_plan()


def label(run: Run) -> str:
    return "-".join(run.cell.values())


def files(directory: Path, run: Run) -> RunFiles:
    """Return where the files of a run of this sweep are."""
    return RunFiles(directory / "runs" / run.run_id)


def write_steps(directory: Path, run: Run, steps: Iterable[int], **changes: Any) -> Path:
    """The run's ``metrics.jsonl``, anew, with these steps."""
    path = files(directory, run).metrics
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"step": step, "loss": 1 / step, **changes}) + "\n" for step in steps))
    return path


def row(run: Run, **changes: Any) -> dict[str, Any]:
    """Return a finished run's result, as far as tracking cares."""
    return {"run_id": run.run_id, "status": "done", "density_bitwise": 0.25, "error": None, **changes}


def track(
    directory: Path, runs: Iterable[Run], mode: str = "offline", say: Callable[[str], None] = lambda text: None
) -> None:
    """One invocation of a sweep in which these runs end, or had ended before."""
    tracker = Tracker(Tracking(mode=mode), sweep_plan(), directory, say)
    rows = []
    for run in runs:
        rows.append(row(run))
        tracker.finish(run, label(run), files(directory, run), rows[-1])
    found = Findings({"runs/done": len(rows), "runs/failed": 0}, {"tables/runs": rows, "tables/pairs": []})
    tracker.close(lambda: found)


@dataclass
class Kept:
    """One offline directory."""

    directory: Path
    run: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)  # as they were defined, by key
    system: int = 0  # samples of what of the machine is in use
    exit_code: int | None = None

    @property
    def steps(self) -> list[int]:
        return [item["step"] for item in self.history if "step" in item]


def offline(directory: Path) -> dict[str, Kept]:
    """Run id -> what is in its offline directory; asserts that there is one of each id."""
    found: dict[str, Kept] = {}
    for path in sorted((directory / "wandb").glob("offline-run-*/*.wandb")):
        kept = read(path)
        assert kept.run.run_id not in found
        found[kept.run.run_id] = kept
    return found


def read(path: Path) -> Kept:
    from wandb.proto.wandb_internal_pb2 import Record

    kept = Kept(path.parent)
    for content in _records(path.read_bytes()):
        record = Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            kept.run = record.run
        elif kind == "history":
            kept.history.append(_values(record.history.item))
        elif kind == "summary":
            kept.summary |= _values(record.summary.update)
        elif kind == "artifact":
            kept.artifacts.append(record.artifact)
        elif kind == "metric":
            kept.metrics[record.metric.name] = record.metric
        elif kind == "stats":
            kept.system += 1
        elif kind == "exit":
            kept.exit_code = record.exit.exit_code
    return kept


def config(kept: Kept) -> Mapping[str, Any]:
    return _values(kept.run.config.update)


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterable[bytes]:
    # LevelDB's log: blocks of 32 KiB, in which each part has a checksum, a length and a kind (1 whole, 2 first,
    # 3 middle, 4 last). W&B begins the first block with seven bytes of its own.
    position, parts = 7, b""
    while position + 7 <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        if kind == 0:
            position += left
            continue
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""
