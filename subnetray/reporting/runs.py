"""Every run as a page of the report shows it: its levels, numbers, curves, config, and how to run it again.

Not its time: a report is the same bytes whatever interrupted its sweep, and times have files of their own.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from subnetray.config import ConfigError, Grid
from subnetray.config.words import parse
from subnetray.files import read_whole
from subnetray.grid.design import describe
from subnetray.grid.settings import concerns_run, is_choice, key_of, level_overrides, merge_levels, text_of
from subnetray.reporting.document import Block, Heading, Paragraph, Runs, table
from subnetray.reporting.source import Sweep
from subnetray.store import results
from subnetray.store.metrics import STEP
from subnetray.text import clean

_POINTS = 40  # of a curve, at most
_CURVES = ("reward", "loss", "density", "density_step", "update_norm", "grad_norm", "kl", "entropy")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, where it is compiled
_TEXTS = ("run_id", "seed", "status", "error")  # of a row, shown by themselves


def section(sweep: Sweep) -> list[Block]:
    """A table of all runs, and a page for each."""
    if sweep.runs.empty:
        return []
    grid, commands, rows, pages = sweep.grid, Commands(sweep.grid), [], {}
    for run in sweep.runs.to_dict("records"):
        levels = {name: str(run[name]) for name in grid.factors}
        rows.append((f"`{run['run_id']}`", describe(grid, levels), str(run["seed"]), str(run["status"])))
        page = _page(sweep, {str(name): value for name, value in run.items()}, levels)
        page["command"] = commands.again(levels, page["seed"], page["config"])
        pages[str(run["run_id"])] = page
    header = (("run", "l"), ("cell", "l"), ("seed", "r"), ("status", "l"))
    listed = table(header, rows, runs=[(run_id,) for run_id in pages])
    line = "Every run has a page here; its files are in `runs/`, in a directory of its name."
    return [Heading(2, "Runs"), Paragraph(line), listed, Runs(pages)]


def _page(sweep: Sweep, run: Mapping[str, Any], levels: Mapping[str, str]) -> dict[str, Any]:
    run_id, seed = str(run["run_id"]), int(run["seed"])
    error = run.get("error")
    return {
        "cell": describe(sweep.grid, levels),
        "seed": seed,
        "status": str(run["status"]),
        "error": clean(error) if isinstance(error, str) else "",
        "levels": dict(levels),
        "numbers": {
            name: shown
            for name, value in run.items()
            if name not in (*_TEXTS, *levels) and (shown := _shown(value)) is not None
        },
        "curves": _curves(sweep.metrics(run_id)),
        "config": _config(sweep, run_id),
    }


class Commands:
    """What runs the runs of a grid by themselves."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        try:
            self._levels = level_overrides(grid)
            # What the command line of the sweep said comes first, and holds.
            common = [o for o in reversed(parse(grid.overrides)) if concerns_run(o) or key_of(o) == "recipe"]
        except ConfigError:  # of a file that is not as it was written
            self._levels, common = {}, []
        self._common = {key_of(o): o for o in common}

    def again(self, levels: Mapping[str, str], seed: int, config: str) -> str:
        """The command that runs a cell with a seed, to the same run id; empty if it takes another run's mask.

        ``config`` is the run's own, as YAML: of what holds in the whole sweep, it has what concerns it.
        """
        try:
            content = yaml.load(config, Loader=_LOADER)
            if not isinstance(content, dict) or (content.get("subnetwork") or {}).get("mask") is not None:
                return ""
            own = {key: override for key, (override, _) in merge_levels(self._grid, levels, self._levels).items()}
        except (ConfigError, yaml.YAMLError, AttributeError, KeyError):
            return ""
        said = (self._common | own).items()
        words = [text_of(o) for key, o in said if is_choice(o) or key == "recipe" or _has(content, key)]
        return shlex.join(["python", "-m", "subnetray.train", *words, f"seed={seed}"])


def _has(content: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True


def _config(sweep: Sweep, run_id: str) -> str:
    try:
        return read_whole(sweep.directory / "runs" / run_id / results.CONFIG).decode()
    except (OSError, ValueError):
        return ""


def _curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Steps and values of the metrics that are drawn, thinned evenly."""
    curves = {}
    for name in _CURVES:
        points = [
            (line[STEP], line[name]) for line in lines if _is_number(line.get(name)) and _is_number(line.get(STEP))
        ]
        if len(points) > _POINTS:
            points = [points[round(index * (len(points) - 1) / (_POINTS - 1))] for index in range(_POINTS)]
        if len(points) > 1:
            curves[name] = [[step for step, _ in points], [float(f"{value:.4g}") for _, value in points]]
    return curves


def _shown(value: Any) -> str | None:
    """A value of a row as text; None if there is none."""
    if isinstance(value, str):
        return clean(value)
    if not _is_number(value):
        return None
    return f"{value:,}" if float(value).is_integer() else f"{value:.5g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
