"""Blocks as Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from subnetray.reporting.document import Block, Bullets, Figure, Heading, Paragraph, Table, quoted, spans, table
from subnetray.reporting.writers.html import to_html
from subnetray.reporting.writers.latex import to_latex
from subnetray.reporting.writers.markdown import to_markdown
from tests.reporting.writers.test_html import Reader

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
    text = to_latex(TABLE, "one")
    assert r"$|$$\Delta$$|$, \% & n\_x \\" in text
    assert r"\textbf{a} \& b\_c & 1 \\" in text
    assert r"d $\pm$ e & $-$2 \\" in text
    assert "\\begin{tabular}{lr}\n\\toprule\n" in text
    assert text.endswith("\\bottomrule\n\\end{tabular}}\n\\end{table}\n")


def test_latex_is_ascii_and_has_as_many_cells_in_each_row() -> None:
    body = [line for line in to_latex(TABLE, "one").splitlines() if line.endswith(r"\\")]
    assert all(line.isascii() for line in body)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {1}


@given(st.lists(st.tuples(st.text("ab _", min_size=1, max_size=200), st.just("1")), max_size=120))
def test_latex_has_every_row_once_on_pages_that_it_fits(rows: list[tuple[str, str]]) -> None:
    made = to_latex(table((("a", "l"), ("n", "r")), rows, "A caption."), "some")
    pages = made.split("\n\n")
    bodies = [page.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines() for page in pages]
    alone = to_latex(table((("a", "l"), ("n", "r")), rows[:1], ""), "some")
    assert sum(map(len, bodies)) == len(rows)
    assert not rows or bodies[0][0] in alone
    for page, body in zip(pages, bodies, strict=True):
        assert sum(-(-len(line) // 40) for line in body) <= 45 + 2 * len(body)
        assert (page.count("\\begin{table}"), page.count("\\end{table}"), page.count("\\caption[")) == (1, 1, 1)
    labels = re.findall(r"\\label\{(.*?)\}", made)
    assert labels == ["tab:some", *(f"tab:some-{place}" for place in range(2, len(pages) + 1))]
    assert made.count("A caption.") == 1
    assert ("Part 2 of" in made) == (len(pages) > 1)


def test_long_texts_of_latex_are_paragraphs() -> None:
    made = to_latex(table((("a", "l"), ("b", "l"), ("n", "r")), [("x " * 40, "short", "1" * 50)]), "one")
    assert "\\begin{tabular}{p{6cm}lr}" in made


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        Table(("a", "b"), "ll", (("x",),))


_HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "[1]: javascript:alert(1)",
    "a | b | c",
    "# title",
    "> quote",
    "`` ` `` <b>",
    "&lt;b&gt;",
    r"\<b> \| x",
    "**<b>**",
    "line\n\n<b>x</b>",
    "~~gone~~ _slanted_ __strong__",
    "$x$",
)


@pytest.mark.parametrize("text", _HOSTILE)
@pytest.mark.parametrize("wrap", [str, quoted])
def test_texts_of_others_are_text_wherever_they_stand(text: str, wrap: Callable[[str], str]) -> None:
    """Read by a parser of GitHub's dialect: no tag, link, image or row but those that the blocks are made of."""
    blocks: list[Block] = [
        Heading(2, wrap(text)),
        Paragraph(wrap(text)),
        Bullets((wrap(text),)),
        Figure("figures/a.png", wrap(text)),
        table((("reason", "l"), ("n", "r")), [(wrap(text), "1")], wrap(text)),
    ]
    found = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(to_markdown(blocks))
    kinds = [token.type for token in found]
    inline = [child for token in found for child in token.children or ()]
    assert not [child for child in inline if child.type in ("html_inline", "link_open", "s_open")]
    assert not [kind for kind in kinds if kind in ("html_block", "blockquote_open", "code_block", "fence")]
    assert [child.attrs["src"] for child in inline if child.type == "image"] == ["figures/a.png"]
    assert (kinds.count("heading_open"), kinds.count("bullet_list_open"), kinds.count("td_open")) == (1, 1, 2)
    page = Reader()
    page.feed(to_html(blocks, text, lambda _: b""))
    kinds = [tag for tag, _ in page.tags]
    assert (kinds.count("script"), kinds.count("img"), kinds.count("b"), kinds.count("td")) == (1, 1, 0, 2)
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert all(link.startswith("#") for link in page.links())


@given(st.text())
def test_a_quoted_text_is_one_code_in_every_format(text: str) -> None:
    assert [kind for kind, _ in spans(f"before {quoted(text)} after")] == ["plain", "code", "plain"]
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown([table([("x", "l")], [(quoted(text),)])]))
    assert [token.type for token in tokens].count("td_open") == 1
    assert to_latex(table([("x", "l")], [(quoted(text),)]), "x").count(r" \\") == 2


def test_a_row_of_latex_may_begin_with_a_bracket() -> None:
    assert "{[}1{]} x" in to_latex(table([("x", "l")], [("[1] x",)]), "x")
