"""The LaTeX writer: tables in booktabs style."""

from __future__ import annotations

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
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "∞": r"$\infty$",
    "²": r"$^2$",
    "–": "--",
    "…": r"\dots{}",
    "\u202f": r"\,",
}


def to_latex(table: Table) -> str:
    """A ``tabular`` with booktabs rules, ending in a newline; needs ``\\usepackage{booktabs}``."""
    rows = [r"\begin{tabular}{" + table.align + "}", r"\toprule", _row(table.header), r"\midrule"]
    rows += [*map(_row, table.rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(rows) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(_text, cells)) + r" \\"


def _text(text: str) -> str:
    return "".join(_span(kind, part) for kind, part in spans(text))


def _span(kind: Kind, text: str) -> str:
    escaped = "".join(_SPECIAL.get(character, character) for character in text)
    return r"\textbf{" + escaped + "}" if kind == "strong" else escaped
