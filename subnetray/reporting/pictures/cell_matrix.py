"""Overlap of the runs of cells, each cell with each: numbers for a chart, and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from subnetray.analysis.effects import cells, done
from subnetray.grid.design import baseline, describe
from subnetray.nulls import NULLS, STRONGEST
from subnetray.reporting.format import rounded
from subnetray.reporting.pictures.figures import drawn
from subnetray.reporting.source import Sweep

Rows = list[dict[str, Any]]

_MOST = 60  # cells that can be told apart
_SQUARE, _LETTER = 0.3, 0.075  # inches: a cell, and a letter of its name
_BARS, _TITLE = 2.2, 0.5  # inches beside and above the cells
_WRITTEN = 20  # cells, of which each square has room for its number


def cell_matrix(sweep: Sweep, pairs: pd.DataFrame) -> Rows:
    """Return a row for two cells, in both orders, in the order of the grid: means over their pairs of runs.

    ``observed`` is o1, ``expected`` what the strongest null expects, ``excess`` what is left of the one without the
    other; all are shares of the masks of the runs of ``row``, None where these are empty.
    """
    if pairs.empty:
        return []
    grid = sweep.grid
    labels = {
        run["run_id"]: describe(grid, {name: str(run[name]) for name in grid.factors})
        for run in done(sweep.runs).to_dict("records")
    }
    order = dict.fromkeys(describe(grid, baseline(grid) | varied) for varied in cells(grid))
    shown = [label for label in order if label in set(labels.values())][:_MOST]
    a, b = pairs["run_a"].map(labels), pairs["run_b"].map(labels)
    expected = pairs[f"{STRONGEST}_expected"].astype(float)
    sides = []
    for one, other, k in ((a, b, pairs["k1"]), (b, a, pairs["k2"])):
        size = k.where(k > 0).astype(float)
        shares = {"observed": pairs["k12"] / size, "expected": expected / size}
        sides.append(pd.DataFrame(shares).assign(row=one, column=other))
    both = pd.concat(sides)
    both = both[both["row"].isin(shown) & both["column"].isin(shown)]
    both["excess"] = both["observed"] - both["expected"]
    by_cells = both.groupby(["row", "column"])
    means = by_cells[["observed", "expected", "excess"]].mean().to_dict("index")
    counts = by_cells.size().to_dict()
    return [
        {
            **{"row": one, "column": other},
            **{str(name): rounded(value) for name, value in means[one, other].items()},
            # Of one cell every pair is there from both of its sides.
            "pairs": counts[one, other] // (2 if one == other else 1),
        }
        for one in shown
        for other in shown
        if (one, other) in means
    ]


def draw(path: Path, rows: Rows) -> None:
    """Draw what was observed beside the excess over the strongest null; what is not known is left white."""
    labels = list(dict.fromkeys(row["row"] for row in rows))
    side = _SQUARE * max(6, len(labels))
    panels = (("observed", "Overlap o1"), ("excess", f"Above the {NULLS[STRONGEST].title} null"))
    names = _LETTER * max(map(len, labels))
    with drawn(path, 2 * side + names + _BARS, side + names + _TITLE) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, (name, title) in zip((left, right), panels, strict=True):
            values = np.full((len(labels), len(labels)), math.nan)
            for row in rows:
                if row[name] is not None:
                    values[labels.index(row["row"]), labels.index(row["column"])] = row[name]
            _panel(axes, values, labels)
            axes.set_title(title)


def _panel(axes: Axes, values: npt.NDArray[np.float64], labels: Sequence[str]) -> None:
    known = values[~np.isnan(values)]
    top = float(np.abs(known).max()) if known.size else 1.0
    # Below 0 a pair shares less than its null expects.
    low = -top if (known < 0).any() else 0.0
    image = axes.imshow(values, cmap="Blues" if low == 0 else "RdBu", vmin=low, vmax=top or 1.0)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(labelsize=7, length=0)
    if len(labels) <= _WRITTEN:
        for (y, x), value in np.ndenumerate(values):
            if not math.isnan(value):
                ink = "white" if value > 0.6 * top or value < -0.6 * top else "black"
                axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=6, color=ink)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, format=PercentFormatter(1, decimals=0))
    bar.ax.tick_params(labelsize=7)
