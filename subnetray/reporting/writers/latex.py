"""The LaTeX writer: tables with captions, in booktabs style, that fit a page."""

from __future__ import annotations

import math
from collections.abc import Iterator

from subnetray.reporting.document import Kind, Table, spans

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "[": "{[}",  # which a row may begin with, and the end of the one before would take for a distance
    "]": "{]}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"$|$",
    ">": r"$>$",
    "<": r"$<$",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "κ": r"$\kappa$",
    "η": r"$\eta$",
    "α": r"$\alpha$",
    "δ": r"$\delta$",
    "Σ": r"$\Sigma$",
    "‖": r"$\|$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "∞": r"$\infty$",
    "²": r"$^2$",
    "–": "--",
    "…": r"\dots{}",
    "\u202f": r"\,",
}


_WIDE = 40  # characters of a cell that are set as a paragraph, in lines of about as many
_PARAGRAPH = r"p{6cm}"
_LINES = 45  # of a page


def to_latex(table: Table, name: str) -> str:
    """``table`` environments with the label ``tab:name``, a page each, ending in a newline.

    Needs ``\\usepackage{booktabs,graphicx}``. A table that is wider than the line is scaled down to it.
    """
    parts = list(_pages(table))
    texts = [
        _environment(table, rows, name if place == 1 else f"{name}-{place}", _caption(table, place, len(parts)))
        for place, rows in enumerate(parts, 1)
    ]
    return "\n".join(texts)


def _environment(table: Table, rows: list[tuple[str, ...]], label: str, caption: str) -> str:
    columns = _columns(table)
    lines = [
        *(r"\begin{table}[p]", r"\centering", r"\footnotesize"),
        *([rf"\caption[{label}]" + "{" + caption + "}"] if caption else []),
        r"\label{tab:" + label + "}",
        # As wide as it is, or as the line.
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        *(r"\begin{tabular}{" + columns + "}", r"\toprule", _row(table.header), r"\midrule"),
        *map(_row, rows),
        *(r"\bottomrule", r"\end{tabular}}", r"\end{table}"),
    ]
    return "\n".join(lines) + "\n"


def _columns(table: Table) -> str:
    """The columns of a table: texts that are long are paragraphs."""
    return "".join(
        _PARAGRAPH if align == "l" and any(len(row[place]) > _WIDE for row in table.rows) else align
        for place, align in enumerate(table.align)
    )


def _pages(table: Table) -> Iterator[list[tuple[str, ...]]]:
    """The rows of each page; one page without rows if there are none."""
    page: list[tuple[str, ...]] = []
    used = 0
    for row in table.rows:
        lines = max(1, *(math.ceil(len(cell) / _WIDE) for cell in row))
        if page and used + lines > _LINES:
            yield page
            page, used = [], 0
        page.append(row)
        used += lines
    yield page


def _caption(table: Table, place: int, parts: int) -> str:
    if parts == 1:
        return _text(table.caption)
    said = f"{table.caption} " if table.caption and place == 1 else ""
    return _text(f"{said}Part {place} of {parts}.")


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(_text, cells)) + r" \\"


def _text(text: str) -> str:
    return "".join(_span(kind, part) for kind, part in spans(text))


def _span(kind: Kind, text: str) -> str:
    escaped = "".join(_SPECIAL.get(character, character) for character in text)
    return r"\textbf{" + escaped + "}" if kind == "strong" else escaped
