"""Blocks as Markdown and LaTeX."""

from __future__ import annotations

import re

import pytest

from subnetray.reporting.document import Block, Bullets, Figure, Heading, Paragraph, Table, table
from subnetray.reporting.latex import to_latex
from subnetray.reporting.markdown import to_markdown

TABLE = table((("|Δ|, %", "l"), ("n_x", "r")), [("**a** & `b_c`", "1"), ("d ± e", "−2")], "caption")


def test_markdown_of_every_block() -> None:
    blocks: list[Block] = [
        Heading(2, "Title"),
        Paragraph("Text."),
        Bullets(("one", "two")),
        Figure("figures/a.png", "A"),
        TABLE,
    ]
    assert to_markdown(blocks) == (
        "## Title\n\nText.\n\n- one\n- two\n\n![A](figures/a.png)\n\n*A*\n\n"
        "| \\|Δ\\|, % | n_x |\n| :--- | ---: |\n| **a** & `b_c` | 1 |\n| d ± e | −2 |\n\n*caption*\n"
    )


def test_tags_in_markdown_are_text() -> None:
    tag = "not <class 'int'>"
    blocks: list[Block] = [Paragraph(tag), Bullets((tag,)), table((("reason", "l"),), [(tag,)])]
    assert to_markdown(blocks).count("not \\<class 'int'>") == 3


def test_cells_of_a_markdown_table_stay_in_their_row() -> None:
    lines = to_markdown([table([("x", "c")], [("a|b\nc",)])]).splitlines()
    assert lines == ["| x |", "| :---: |", "| a\\|b c |"]


def test_latex_escapes_what_is_special() -> None:
    text = to_latex(TABLE)
    assert r"$|$$\Delta$$|$, \% & n\_x \\" in text
    assert r"\textbf{a} \& b\_c & 1 \\" in text
    assert r"d $\pm$ e & $-$2 \\" in text
    assert text.startswith("\\begin{tabular}{lr}\n\\toprule\n")
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")


def test_latex_is_ascii_and_has_as_many_cells_in_each_row() -> None:
    body = [line for line in to_latex(TABLE).splitlines() if line.endswith(r"\\")]
    assert all(line.isascii() for line in body)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {1}


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        Table(("a", "b"), "ll", (("x",),))
