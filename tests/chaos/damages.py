"""Files of a sweep that is done, which are damaged, cut, emptied or removed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.chaos.faults import fault
from tests.chaos.scene import Scene


def flip(path: Path, rng: random.Random) -> str:
    """One bit is another; the file's time is what it was, as with a disk that fails."""
    status, data = path.stat(), bytearray(path.read_bytes())
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return f"bit {bit} of byte {place} of {len(data)} was flipped"


def cut(path: Path, rng: random.Random) -> str:
    """The end is missing."""
    size = path.stat().st_size
    kept = rng.randrange(1, size)
    os.truncate(path, kept)
    return f"was cut to {kept} of {size} bytes"


def empty(path: Path, rng: random.Random) -> str:
    """Nothing is left but the name."""
    os.truncate(path, 0)
    return "was emptied"


def remove(path: Path, rng: random.Random) -> str:
    """The name is gone too."""
    path.unlink()
    return "was removed"


WAYS: tuple[Callable[[Path, random.Random], str], ...] = (flip, cut, empty, remove)


def _damage(scene: Scene, *patterns: str) -> None:
    """Damage one file of those that match, in one way; a run's may then be run again, and no other."""
    # A pattern first, and not a file: of the files of a kind there may be one or a hundred.
    pattern = scene.rng.choice(patterns)
    path = scene.rng.choice(sorted(path for path in scene.out.glob(pattern) if path.stat().st_size > 1))
    scene.runs.look()
    name = path.relative_to(scene.out)
    if name.parts[0] == "runs":
        scene.runs.damaged(name.parts[1])
    scene.moment = f"{name} {scene.rng.choice(WAYS)(path, scene.rng)}"


@fault("result", after=True)
def result(scene: Scene) -> None:
    """The result of a run is damaged."""
    _damage(scene, "runs/*/result.json")


@fault("mask", after=True)
def mask(scene: Scene) -> None:
    """The mask of a run, or the one that it was restricted to, is damaged."""
    _damage(scene, "runs/*/mask.safetensors", "runs/*/mask.safetensors", "runs/*/restriction.safetensors")


@fault("delta", after=True)
def delta(scene: Scene) -> None:
    """The delta of a run is damaged."""
    _damage(scene, "runs/*/delta.safetensors")


@fault("log", after=True)
def log(scene: Scene) -> None:
    """The metrics or the config of a run are damaged."""
    _damage(scene, "runs/*/metrics.jsonl", "runs/*/metrics.jsonl", "runs/*/config.yaml")


@fault("table", after=True)
def table(scene: Scene) -> None:
    """A table of the sweep is damaged."""
    _damage(scene, "runs.parquet", "overlap.parquet")


@fault("derived", after=True)
def derived(scene: Scene) -> None:
    """The claims, the report, a figure or a table of it is damaged."""
    _damage(scene, "claims.json", "report.md", "report.html", "tables/*", "figures/*")


@fault("sweep-file", after=True)
def sweep_file(scene: Scene) -> None:
    """The resolved grid is damaged."""
    _damage(scene, "sweep.yaml")
