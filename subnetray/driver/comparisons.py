"""A grid of pairs of checkpoints: each is compared once, one after another.

A comparison already uses all cores and is as fast as the files can be read: pairs beside each other, here or as tasks
of a Ray cluster that shares a file system, would only wait for one another.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from subnetray.checkpoints import Work, compare_checkpoints, open_checkpoint
from subnetray.checkpoints.coverage import require_enough
from subnetray.checkpoints.description import describe
from subnetray.checkpoints.match import match
from subnetray.checkpoints.progress import progress_bar
from subnetray.config import CheckpointPair, ConfigError, PairsConfig
from subnetray.files import write_atomic
from subnetray.models import locate_weights, weights_fingerprint
from subnetray.places import require_writable
from subnetray.reporting.comparisons import read_result, write_comparisons
from subnetray.reporting.pictures.heatmap import write_heat_map
from subnetray.subnetwork.counting import Thresholds
from subnetray.text import one_line, percent, shown

Say = Callable[[str], None]
# Raised when rules change which weights are compared: what earlier ones found is compared again.
_RULES = 2


@dataclass(frozen=True)
class _Located:
    """Where the two checkpoints of a pair are, and what a comparison of them is identified by."""

    init: Path
    final: Path
    identity: dict[str, Any]


def show(config: PairsConfig, say: Say) -> None:
    """Say which pairs there are, which are compared already, and what is missing on this machine."""
    out = _directory(config)
    for name, pair in config.selected.items():
        try:
            located = _locate(config, name, pair, say, fetch=False)
            state = "done" if _done(out, name, located) else "to do"
        except ConfigError as error:
            state = "not on this machine" if config.models_dir is None else f"missing: {one_line(str(error))}"
        say(f"{name}  {shown(pair.init)} -> {shown(pair.final)}  {state}")
    say(f"{len(config.selected)} of {len(config.grid.pairs)} pairs, results in {out}")


def execute(config: PairsConfig, say: Say) -> int:
    """Compare the pairs that have no result of these files yet and write the report; returns how many failed.

    Raises ConfigError before any work for directories that cannot be used.
    """
    out = _directory(config)
    # The threads are ours: torch's own within each of them would only get in their way.
    torch.set_num_threads(1)
    finished: list[str] = []
    failed: dict[str, str] = {}
    for name, pair in config.selected.items():
        try:
            located = _locate(config, name, pair, say)
            if _done(out, name, located):
                say(f"{name}: compared already")
            else:
                content = _compare(config, name, pair, located)
                directory = out / "pairs" / name
                write_heat_map(directory, content)
                # Last, as it says that the pair is done.
                write_atomic(directory / "diff.json", json.dumps(content, indent=1))
                say(f"{name}: {_summary(content)}")
            finished.append(name)
        except (ConfigError, OSError) as error:
            failed[name] = one_line(str(error))
            say(f"{name}: failed: {failed[name]}")
        # After every pair: they take minutes, and what there is can be read.
        report = write_comparisons(out, config, finished, failed)
    say(f"the report is {report}")
    return len(failed)


def _directory(config: PairsConfig) -> Path:
    if not re.fullmatch(r"\w[\w.-]*", config.grid.name):
        raise ConfigError(
            f"grid.name must be letters, digits, dots and dashes, as its results go to outputs/NAME, not"
            f" {shown(config.grid.name)!r}"
        )
    out = Path(config.out or f"outputs/{config.grid.name}").absolute()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out must be a directory, and {out} is a file")
    if out.is_dir() and any(out.iterdir()) and not (out / "pairs").is_dir() and not (out / "report.md").is_file():
        raise ConfigError(f"out must be a new directory or that of such a comparison, and {out} holds other files")
    require_writable(out, "out", "choose another directory with out=")
    if config.models_dir is not None and not Path(config.models_dir).is_dir():
        raise ConfigError(
            f"models_dir must be a directory that holds ORG/NAME, and there is none at {config.models_dir}"
        )
    return out


def _locate(config: PairsConfig, name: str, pair: CheckpointPair, say: Say, fetch: bool = True) -> _Located:
    places = []
    for side, model in (("init", pair.init), ("final", pair.final)):
        key = f"grid.pairs.{name}.{side}"
        if config.models_dir is None:
            places.append(locate_weights(model, key, say, fetch))
            continue
        place = Path(config.models_dir) / model
        if not place.exists():
            raise ConfigError(f"{key}: {model} is not in the mirror: models_dir must hold it as {place}")
        places.append(place)
    init, final = places
    identity = {
        "files": {"init": weights_fingerprint(init), "final": weights_fingerprint(final)},
        "dtype": config.dtype,
        "tolerances": list(config.TOLERANCES),
        "rules": _RULES,
    }
    return _Located(init, final, identity)


def _done(out: Path, name: str, located: _Located) -> bool:
    path = out / "pairs" / name / "diff.json"
    found = read_result(path)
    return found is not None and found["compared"] == located.identity


def _compare(config: PairsConfig, name: str, pair: CheckpointPair, located: _Located) -> dict[str, Any]:
    began = time.perf_counter()
    key = f"grid.pairs.{name}"
    dtype = None if config.dtype is None else getattr(torch, config.dtype)
    threads = config.threads or len(os.sched_getaffinity(0))
    with (
        open_checkpoint(located.init, f"{key}.init", located.final) as init,
        open_checkpoint(located.final, f"{key}.final", located.init) as final,
    ):
        matching = match(init, final)
        if not config.partial:
            require_enough(matching.coverage, matching.skipped, key)
        with progress_bar(name, matching.n) as progress:
            work = Work(threads, progress=progress)
            difference = compare_checkpoints(matching, Thresholds(config.TOLERANCES), dtype, work)
    content = describe(pair.init, pair.final, difference, time.perf_counter() - began)
    return {"compared": located.identity, **content}


def _summary(content: dict[str, Any]) -> str:
    sparsity = content["sparsity"]
    if sparsity["bitwise"] is None:
        return "no coordinate was compared"
    share = content["coverage"]["share"]
    of = "" if share == 1 else f", of the {percent(share)} that could be compared"
    left = f"; {len(content['skipped'])} tensors or rows left out" if content["skipped"] else ""
    return (
        f"{sparsity['bitwise']:.2%} of {content['n']:,} weights unchanged bit for bit,"
        f" {sparsity['abs']['1e-05']:.2%} up to 1e-5{of}{left}"
    )
