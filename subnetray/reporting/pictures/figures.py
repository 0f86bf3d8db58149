"""The figures of a report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator, PercentFormatter

from subnetray.files import atomic_path
from subnetray.nulls import NULLS, STRONGEST
from subnetray.reporting.pictures.colours import COLOURS

if TYPE_CHECKING:
    from subnetray.analysis.intervals import Estimate
    from subnetray.analysis.trajectory import Point
    from subnetray.reporting.pictures.heatmap import HeatMap

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GREY, _LIGHT = "#666666", "#DDDDDD"
_HOLLOW: Any = {"marker": "D", "markersize": 5, "markerfacecolor": "none"}
_OPEN: Any = {"marker": "o", "markersize": 5, "markerfacecolor": "white"}
_LOW = 0.4  # densities below it have an axis of their own, as on one to 100 % they would lie on each other
_ROW = 0.19  # inches
_COLUMN = 0.52  # inches
# From white to dark blue: told apart by lightness alone, on paper and by colour-blind readers too.
_HEAT = matplotlib.colormaps["Blues"]

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.linewidth": 0.8,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "legend.frameon": False,
    "savefig.dpi": 160,
    # Names of factors and levels are no formulas, and what looks like a broken one would end the report.
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Series:
    """One line: a name and (x, values of the seeds) in order of x."""

    name: str
    values: tuple[tuple[float, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Row:
    """One row of a dot plot; ``reference`` holds published values, drawn hollow."""

    label: str
    estimate: Estimate
    reference: tuple[float, ...] = ()


@dataclass(frozen=True)
class OverlapRow:
    """One row of the overlap plot: what is observed, what the nulls expect, and what is left with another seed too."""

    label: str
    observed: Estimate
    uniform: float
    strongest: float
    reseeded: float = math.nan


def density_by_learning_rate(path: Path, series: Sequence[Series], x_label: str) -> None:
    """Visible density against learning rate: seeds as dots, a line through their means."""
    with drawn(path, 5.2, 3.4) as figure:
        axes = figure.add_subplot()
        rates = sorted({x for each in series for x, _ in each.values})
        for index, each in enumerate(series):
            colour, marker = COLOURS[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)]
            means = [math.fsum(values) / len(values) for _, values in each.values]
            axes.plot([x for x, _ in each.values], means, color=colour, linewidth=1.4, zorder=2)
            # Seeds differ by less than a dot: beside each other, they can be counted.
            for x, values in each.values:
                spread = [x * 10 ** (0.025 * (i - (len(values) - 1) / 2)) for i in range(len(values))]
                axes.plot(
                    *(spread, values, marker),
                    color=colour,
                    markersize=4.5,
                    markeredgecolor="white",
                    markeredgewidth=0.5,
                    zorder=3,
                )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(rates))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0e}".replace("e-0", "e-")))
        _percent_axis(axes, "y")
        top = max(value for each in series for _, values in each.values for value in values)
        if top < _LOW:
            axes.set_ylim(-0.02 * top, 1.1 * top)
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
        axes.set_xlabel(x_label)
        axes.set_ylabel("density: visibly changed weights")
        axes.grid(axis="y", color=_LIGHT, linewidth=0.6)
        if len(series) > 1:
            handles = [
                Line2D(
                    [],
                    [],
                    color=COLOURS[index % len(COLOURS)],
                    marker=_MARKERS[index % len(_MARKERS)],
                    markersize=4.5,
                    linewidth=1.4,
                    label=each.name,
                )
                for index, each in enumerate(series)
            ]
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4))


def along_the_run(path: Path, panels: Sequence[tuple[str, Mapping[str, Sequence[Point]]]]) -> None:
    """Shares by optimizer step, panels side by side: for each level a line through the mean, a band over its runs."""
    with drawn(path, 3.9 * len(panels), 3.2) as figure:
        names = list(dict.fromkeys(name for _, lines in panels for name in lines))
        for position, (title, lines) in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), position)
            for name, points in lines.items():
                colour = COLOURS[names.index(name) % len(COLOURS)]
                steps = [point.step for point in points]
                axes.fill_between(
                    *(steps, [point.low for point in points], [point.high for point in points]),
                    color=colour,
                    alpha=0.25,
                    linewidth=0,
                )
                axes.plot(steps, [point.mean for point in points], color=colour, linewidth=1.4)
            axes.set_title(title)
            axes.set_xlabel("optimizer step")
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
            axes.grid(axis="y", color=_LIGHT, linewidth=0.6)
        if len(names) > 1:
            handles = [
                Line2D([], [], color=COLOURS[index % len(COLOURS)], linewidth=1.4, label=name)
                for index, name in enumerate(names)
            ]
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))


def identification(path: Path, panels: Sequence[tuple[str, float, Mapping[str, Sequence[tuple[int, float]]]]]) -> None:
    """Average precision by optimizer step, panels side by side, each with its chance level: a line a score."""
    with drawn(path, 3.9 * len(panels), 3.4) as figure:
        names = list(dict.fromkeys(name for *_, lines in panels for name in lines))
        for position, (title, chance, lines) in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), position)
            axes.axhline(chance, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            for name, points in lines.items():
                axes.plot(*zip(*points, strict=True), **_line(names.index(name)))
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(sorted({x for points in lines.values() for x, _ in points})))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.set_title(title)
            axes.set_xlabel("optimizer step")
            if position == 1:
                axes.set_ylabel("average precision")
            _percent_axis(axes, "y")
            axes.grid(axis="y", color=_LIGHT, linewidth=0.6)
        handles = [Line2D([], [], label=name, **_line(index)) for index, name in enumerate(names)]
        handles.append(Line2D([], [], color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), label="chance"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4))


def _line(index: int) -> Any:
    """Style of one of many lines: where colours begin again, markers are others and the line is broken."""
    again = index // len(COLOURS)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": _MARKERS[(index + again) % len(_MARKERS)],
        "linestyle": "-" if again == 0 else "--",
        "linewidth": 1.4,
        "markersize": 4,
    }


def dots(path: Path, groups: Sequence[tuple[str, Sequence[Row]]], baseline: float, reference_label: str) -> None:
    """Density of each factor's levels with intervals, grouped by factor; ``baseline`` is drawn as a line."""
    with drawn(path, 6.6, 0.7 + _ROW * _height(groups)) as figure:
        axes = figure.add_subplot()
        for index, (_, at) in enumerate(_rows(axes, groups)):
            for row, y in at:
                _dot(axes, row.estimate, y, COLOURS[index % (len(COLOURS) - 1)])
                for value in row.reference:
                    axes.plot(value, y, color=_GREY, zorder=5, **_HOLLOW)
        if not math.isnan(baseline):
            axes.axvline(baseline, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        _percent_axis(axes, "x")
        axes.set_xlabel("density: visibly changed weights")
        handles = [
            Line2D([], [], color="black", marker="o", markersize=5, linewidth=1.4, label="this sweep, mean, 95 %")
        ]
        if not math.isnan(baseline):
            handles.append(Line2D([], [], color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), label="baseline"))
        if any(row.reference for _, rows in groups for row in rows):
            handles.append(Line2D([], [], color=_GREY, linewidth=0, label=reference_label, **_HOLLOW))
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))


def shares(path: Path, groups: Sequence[tuple[str, Sequence[Row]]], label: str) -> None:
    """Shares with intervals, grouped: a row each."""
    with drawn(path, 6.6, 0.7 + _ROW * _height(groups)) as figure:
        axes = figure.add_subplot()
        for index, (_, at) in enumerate(_rows(axes, groups)):
            for row, y in at:
                _dot(axes, row.estimate, y, COLOURS[index % (len(COLOURS) - 1)])
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(label)


def overlaps(path: Path, panels: Sequence[Sequence[tuple[str, Sequence[OverlapRow]]]]) -> None:
    """Observed overlap against what the uniform and the strongest null expect: a row a group of pairs, in panels."""
    with drawn(path, 5.4 * len(panels) if len(panels) > 1 else 6.6, 0.9 + _ROW * max(map(_height, panels))) as figure:
        for position, groups in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), position)
            for _, at in _rows(axes, groups):
                for row, y in at:
                    axes.plot(
                        [row.uniform, row.strongest], [y, y], color=COLOURS[4], linewidth=2.4, alpha=0.45, zorder=1
                    )
                    axes.plot(
                        [row.strongest, row.observed.mean],
                        [y, y],
                        color=COLOURS[0],
                        linewidth=2.4,
                        alpha=0.45,
                        zorder=1,
                    )
                    axes.plot(row.uniform, y, "|", color=_GREY, markersize=8, markeredgewidth=1.6, zorder=2)
                    axes.plot(row.strongest, y, "D", color=COLOURS[4], markersize=4.5, zorder=3)
                    _dot(axes, row.observed, y, COLOURS[0])
                    axes.plot(row.reseeded, y, color=COLOURS[0], zorder=5, **_OPEN)
            # Panels of unlike length keep the same height of a row.
            bottom = max(map(_height, panels)) - 1
            axes.set_ylim(bottom, axes.get_ylim()[1])
            _percent_axis(axes, "x")
            axes.set_xlabel("overlap o1")
        handles = [
            Line2D(
                [], [], color=_GREY, marker="|", markersize=8, markeredgewidth=1.6, linewidth=0, label="uniform null"
            ),
            Line2D(
                [],
                [],
                color=COLOURS[4],
                marker="D",
                markersize=4.5,
                linewidth=0,
                label=f"{NULLS[STRONGEST].title} null",
            ),
            Line2D([], [], color=COLOURS[0], marker="o", markersize=5, linewidth=1.4, label="observed, mean, 95 %"),
        ]
        if any(not math.isnan(row.reseeded) for panel in panels for _, rows in panel for row in rows):
            handles.append(Line2D([], [], color=COLOURS[0], linewidth=0, label="with another seed too", **_OPEN))
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))


def heat_map(path: Path, found: HeatMap) -> None:
    """Density by layer and module: a cell each, its percentage in it; what is outside of the layers is a wide cell."""
    # Of tensors without coordinates an empty frame is left.
    widths, heights = len(found.columns), max(1, len(found.rows))
    with drawn(path, 1.6 + _COLUMN * widths, 0.75 + _ROW * heights) as figure:
        axes = figure.add_subplot()
        for y, row in enumerate(found.rows):
            for name, cell in row.cells.items():
                x, width = (0, widths) if row.wide else (found.columns.index(name), 1)
                colour, ink = heat_colour(cell.density, found.top)
                axes.add_patch(Rectangle((x, y), width, 1, facecolor=colour, edgecolor="white", linewidth=1))
                axes.text(x + width / 2, y + 0.53, cell.text, color=ink, fontsize=7, ha="center", va="center")
        axes.set_xlim(0, widths)
        axes.set_ylim(heights, 0)
        axes.set_xticks([x + 0.5 for x in range(widths)], found.columns)
        axes.set_yticks([y + 0.5 for y in range(len(found.rows))], [row.label for row in found.rows])
        axes.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=8)
        axes.spines[:].set_visible(False)
        # As high as the rows of a small model allow, and no higher than reads well.
        bar = figure.colorbar(
            ScalarMappable(Normalize(0, found.top), _HEAT), ax=axes, pad=0.02, aspect=20, shrink=min(1, 16 / heights)
        )
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)
        bar.set_label("changed weights", fontsize=8)


def heat_colour(density: float, top: float) -> tuple[str, str]:
    """The colour of a cell, on a scale from 0 to ``top``, and that of text on it."""
    red, green, blue, _ = _HEAT(density / top)
    # Relative luminance as WCAG 2 weighs it; above the threshold black has the higher contrast.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return to_hex((red, green, blue)), "black" if luminance > 0.179 else "white"


_Drawn = TypeVar("_Drawn", Row, OverlapRow)


def _rows(axes: Axes, groups: Sequence[tuple[str, Sequence[_Drawn]]]) -> list[tuple[str, list[tuple[_Drawn, float]]]]:
    """Label the rows on the y axis, under the bold names of their groups, and say where each row is."""
    labels: list[str] = []
    ticks: list[float] = []
    bold: list[int] = []
    placed: list[tuple[str, list[tuple[_Drawn, float]]]] = []
    y = 0.0
    for title, rows in groups:
        bold.append(len(labels))
        labels.append(title)
        ticks.append(y)
        at = []
        for row in rows:
            y += 1
            at.append((row, y))
            labels.append(row.label)
            ticks.append(y)
            axes.axhline(y, color=_LIGHT, linewidth=0.5, zorder=0)
        placed.append((title, at))
        y += 1.3
    axes.set_yticks(ticks, labels)
    for index in bold:
        axes.get_yticklabels()[index].set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 0.7, -0.6)
    return placed


def _height(groups: Sequence[tuple[str, Sequence[object]]]) -> float:
    return sum(len(rows) + 1.3 for _, rows in groups) + 0.3


def _dot(axes: Axes, estimate: Estimate, y: float, colour: str) -> None:
    if not math.isnan(estimate.low):
        ends = [max(0.0, estimate.low), min(1.0, estimate.high)]
        axes.plot(ends, [y, y], color=colour, linewidth=1.4, solid_capstyle="butt", zorder=3)
    axes.plot(estimate.mean, y, "o", color=colour, markersize=5, zorder=4)


def _percent_axis(axes: Axes, which: str) -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_ylim if which == "y" else axes.set_xlim)(-0.02, 1.02)
    axis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1.0]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axis.set_minor_formatter(NullFormatter())


@contextmanager
def drawn(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of this size in inches, which is written to ``path`` when this is left."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with atomic_path(path) as temporary:
            # No version or date in the file: the same sweep gives the same bytes.
            figure.savefig(temporary, format="png", metadata={"Software": None})
