"""Describe a run's sources and products as W&B's artifacts: by reference, no file is uploaded.

``init-HASH`` (the weights that training began with, and the mask of the run that it was restricted to) is used by the
run, which logs ``mask-RUN`` and ``delta-RUN``: names of content, so that all runs of one init share its artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subnetray.store import results

if TYPE_CHECKING:  # W&B's process imports this, and plans nothing
    from subnetray.grid.plan import Run

MASK, DELTA, INIT = "mask", "delta", "init"


@dataclass(frozen=True)
class RunFiles:
    """The places of a run's files, and, if that is known, the directory of its init."""

    directory: Path
    init: Path | None = None

    @property
    def metrics(self) -> Path:
        """Return the file of what it wrote step by step."""
        return self.directory / results.METRICS


@dataclass(frozen=True)
class Node:
    """One artifact. Its files are referred to by content; by place if ``large``, and its name says what they are."""

    name: str
    kind: str
    metadata: Mapping[str, Any]
    files: Sequence[Path] = ()
    large: bool = False

    def message(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **{"name": self.name, "kind": self.kind, "metadata": dict(self.metadata), "large": self.large},
            "files": [path.absolute().as_uri() for path in self.files],
        }


@dataclass(frozen=True)
class Lineage:
    """Return what a run used and what it logged."""

    used: Sequence[Node]
    logged: Sequence[Node]

    def message(self) -> dict[str, Any]:
        """Plain values."""
        return {"used": [each.message() for each in self.used], "logged": [each.message() for each in self.logged]}

    def content(self) -> list[Any]:
        """Return what it says, wherever the files lie."""
        return [[each.name, dict(each.metadata)] for each in (*self.used, *self.logged)]


def lineage(run: Run, files: RunFiles, row: Mapping[str, Any]) -> Lineage:
    """The lineage of a finished run. ``row`` is its row of ``runs.parquet``."""
    metadata = {
        "run_id": run.run_id,
        **{name: row.get(name) for name in ("init_hash", "final_hash", "export_dtype", "density_bitwise", "n")},
    }
    made = ((MASK, results.MASK), (DELTA, results.DELTA))
    logged = [
        Node(f"{kind}-{run.run_id}", kind, metadata, (path,))
        for kind, name in made
        if (path := files.directory / name).is_file()
    ]
    return Lineage([*_inits(run, files, row), *_sources(run, files)], logged)


def _inits(run: Run, files: RunFiles, row: Mapping[str, Any]) -> Iterator[Node]:
    if (init_hash := row.get("init_hash")) is None:
        return
    inside = files.init if files.init is not None and files.init.is_dir() else None
    found = sorted(path for path in inside.iterdir() if path.is_file()) if inside else []
    metadata = {"init_hash": init_hash, "model": run.config.model.name, "export_dtype": row.get("export_dtype")}
    yield Node(f"{INIT}-{init_hash[:16]}", "model", metadata, found, large=True)


def _sources(run: Run, files: RunFiles) -> Iterator[Node]:
    """The mask that a run was restricted to, or that its own was made of, if it lies in the same sweep."""
    source = run.source
    if source is not None and (path := files.directory.parent / source / results.MASK).is_file():
        yield Node(f"{MASK}-{source}", MASK, {"run_id": source}, (path,))
