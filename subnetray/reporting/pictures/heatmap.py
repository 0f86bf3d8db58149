"""Density by layer and module: where in a model an update is. A picture, and a page whose cells say their counts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subnetray.files import write_atomic
from subnetray.reporting.pictures import figures
from subnetray.reporting.writers.page import page

ALL = "all"
# In the order of the computation within a layer; modules that others bring follow.
_MODULES = ("q", "k", "v", "o", "gate", "up", "down", "experts", "other", "bias", "norm")
_BEFORE = ("embedding",)

_CSS = """
table.heat { border-collapse: separate; border-spacing: 2px; }
table.heat th { border: 0; text-align: right; padding: 0.15rem 0.5rem; font-weight: 400; }
table.heat thead th { text-align: center; }
table.heat td { border: 0; text-align: center; padding: 0.15rem 0.5rem; min-width: 3rem; }
table.heat td.none { color: #999; }
.scale { display: inline-block; width: 16rem; height: 0.9rem; vertical-align: middle; margin: 0 0.5rem; }
""".strip()


@dataclass(frozen=True)
class Cell:
    """Coordinates, and how many of them differ bit for bit."""

    changed: int = 0
    n: int = 0

    def __add__(self, other: Cell) -> Cell:
        return Cell(self.changed + other.changed, self.n + other.n)

    @property
    def density(self) -> float:
        """Share of coordinates that differ."""
        return self.changed / self.n

    @property
    def text(self) -> str:
        """Density in percent; what is neither nothing nor everything does not look like it."""
        if 0 < self.changed < self.n:
            return "<0.1" if self.density < 5e-4 else ">99.9" if self.density >= 0.9995 else f"{100 * self.density:.1f}"
        return f"{100 * self.density:.0f}"


@dataclass(frozen=True)
class Row:
    """A layer, or all layers: a cell for each column that it has; or what is outside of the layers: one cell, ALL."""

    label: str
    cells: dict[str, Cell]
    wide: bool = False


@dataclass(frozen=True)
class HeatMap:
    """Rows in the order of the computation. ``top`` is the density of the darkest colour."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    top: float


def heat_map(tensors: Iterable[Mapping[str, Any]]) -> HeatMap:
    """The map of ``tensors`` as ``diff.json`` and ``result.json`` list them; those of several runs are pooled."""
    layers: dict[int, dict[str, Cell]] = {}
    outside: dict[str, Cell] = {}
    for tensor in tensors:
        module, cell = str(tensor["module"]), Cell(int(tensor["changed_bitwise"]), int(tensor["n"]))
        if not cell.n:
            continue
        row = outside if tensor["layer"] is None else layers.setdefault(int(tensor["layer"]), {})
        row[module] = row.get(module, Cell()) + cell
    found = {module for row in layers.values() for module in row}
    modules = [*(m for m in _MODULES if m in found), *sorted(found.difference(_MODULES))]
    rows = [_layer(f"layer {index}", modules, [layers[index]]) for index in sorted(layers)]
    if layers:
        rows.append(_layer("all layers", modules, list(layers.values())))
    rest = [Row(name, {ALL: cell}, wide=True) for name, cell in sorted(outside.items())]
    before = [row for row in rest if row.label in _BEFORE]
    # The head comes last, what precedes it before.
    after = sorted((row for row in rest if row.label not in _BEFORE), key=lambda row: row.label == "head")
    rows = [*before, *rows, *after]
    highest = max((cell.density for row in rows for cell in row.cells.values()), default=0.0)
    return HeatMap((*modules, ALL), tuple(rows), _round_up(highest))


def write_heat_map(directory: Path, content: Mapping[str, Any]) -> None:
    """Write ``heatmap.png`` and ``heatmap.html`` of a ``diff.json`` of this content beside it."""
    found = heat_map(content["tensors"])
    figures.heat_map(directory / "heatmap.png", found)
    title = f"{content['init']} → {content['final']}"
    write_atomic(directory / "heatmap.html", heat_map_page(found, title))


def heat_map_page(found: HeatMap, title: str) -> str:
    """One HTML file without script or link: a table whose cells are coloured and say their counts when pointed at."""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in ("", *found.columns))
    body = "\n".join(_html_row(found, row) for row in found.rows)
    ends = ", ".join(figures.heat_colour(step / 8 * found.top, found.top)[0] for step in range(9))
    return page(
        title,
        f"<h1>{html.escape(title)}</h1>\n"
        "<p>Share of weights whose stored value differs bit for bit, in percent, by layer and module. Biases and norms"
        " are columns of their own; what is outside of the layers is a row.</p>\n"
        f'<p>0 %<span class="scale" style="background: linear-gradient(to right, {ends})"></span>'
        f"{100 * found.top:g} %</p>\n"
        f'<table class="heat">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>',
        _CSS,
    )


def _html_row(found: HeatMap, row: Row) -> str:
    label = f'<th scope="row">{html.escape(row.label)}</th>'
    if row.wide:
        span = f' colspan="{len(found.columns)}"'
        return f"<tr>{label}{_html_cell(row.cells[ALL], found.top, span)}</tr>"
    cells = "".join(
        _html_cell(row.cells[column], found.top) if column in row.cells else '<td class="none">–</td>'
        for column in found.columns
    )
    return f"<tr>{label}{cells}</tr>"


def _html_cell(cell: Cell, top: float, attributes: str = "") -> str:
    colour, ink = figures.heat_colour(cell.density, top)
    counts = f"{cell.changed:,} of {cell.n:,}"
    return f'<td{attributes} style="background: {colour}; color: {ink}" title="{counts}">{html.escape(cell.text)}</td>'


def _layer(label: str, modules: Iterable[str], parts: list[dict[str, Cell]]) -> Row:
    cells = {
        module: sum((part[module] for part in parts if module in part), Cell())
        for module in modules
        if any(module in part for part in parts)
    }
    return Row(label, cells | {ALL: sum(cells.values(), Cell())})


def _round_up(value: float) -> float:
    """The next round density, from 0.1 % to 100 %."""
    steps = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    return next(step for step in steps if value <= step)
