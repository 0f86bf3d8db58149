"""The HTML writer: well formed, self-contained, the same content as the Markdown."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from subnetray.reporting.document import (
    Block,
    Bullets,
    Definitions,
    Figure,
    Folded,
    Heading,
    Paragraph,
    table,
)
from subnetray.reporting.writers.html import to_html

BLOCKS: list[Block] = [
    Heading(1, "A < B & C"),
    Paragraph("Some `code_x` and **strong** words."),
    Bullets(("one", "two")),
    Figure("figures/a.png", 'A "figure"'),
    table((("|Δ|, %", "l"), ("n", "r")), [("<b>", "1"), ("**x**", "−2")], "A caption."),
]


class Reader(HTMLParser):
    """Collects tags and the text of the content, and fails on tags that do not nest and on ids that are not unique."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if (name := attributes.get("id")) is not None:
            assert name not in self.ids
            self.ids.append(name)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "nav"} & set(self.open) and data.strip():
            self.text.append(data.strip())

    def links(self) -> list[str]:
        return [str(attributes["href"]) for tag, attributes in self.tags if tag == "a"]


def read(blocks: list[Block]) -> Reader:
    page = Reader()
    page.feed(to_html(blocks, "T & U", lambda path: b"png"))
    assert page.open == []
    return page


def test_the_page_is_well_formed_and_escapes_text() -> None:
    assert read(BLOCKS).text == [
        *("T & U", "Skip to the content", "A < B & C", "Some", "code_x", "and", "strong", "words.", "one", "two"),
        *('A "figure"', "Table: A < B & C, 2 rows", "|Δ|, %", "n", "<b>", "1", "x", "−2", "A caption."),
    ]


def test_figures_are_inside_and_nothing_is_outside() -> None:
    data = bytes(range(256))
    text = to_html(BLOCKS, "T", lambda path: data if path == "figures/a.png" else b"")
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(encoded) == data
    page = Reader()
    page.feed(text)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "base"}
    assert all(link.startswith("#") for link in page.links())
    assert not [attributes for tag, attributes in page.tags if tag == "script" and "src" in attributes]
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == ['A "figure"']
    outside = re.sub(r"<main.*</main>", "", text, flags=re.DOTALL)
    assert re.findall(r"https?://[^\"']*", outside) == ["http://www.w3.org/2000/svg"]  # a name, not a place


def test_numbers_are_aligned_as_the_table_says() -> None:
    cells = [attributes.get("class") for tag, attributes in read(BLOCKS).tags if tag in ("th", "td")]
    assert cells == [None, "r"] * 3


def test_every_heading_has_an_id_of_its_own_and_those_below_the_title_are_listed() -> None:
    titles = [(1, "T"), (3, "Early"), (2, "Same"), (2, "Same"), (3, "Deep"), (2, "main"), (2, "term κ"), (2, "×")]
    page = read([Heading(level, text) for level, text in titles])
    ids = [attributes["id"] for tag, attributes in page.tags if re.fullmatch("h[123]", tag)]
    assert ids == ["t", "early", "same", "same-2", "deep", "section-main", "section-term-κ", "section"]
    assert page.links() == ["#main", *(f"#{name}" for name in ids[1:])]


def test_a_term_leads_to_its_meaning_once_a_section() -> None:
    words = Definitions((("odds ratio", "An <i>."), ("odds", "Another.")))
    page = read(
        [
            *(Heading(2, "One"), Paragraph("Odds ratio, odds ratio and odds, not evenodds; `odds`.")),
            *(Heading(2, "Two"), table([("odds ratio", "r")], [("odds",)], "odds"), words),
        ]
    )
    terms = [attributes["href"] for tag, attributes in page.tags if tag == "a" and attributes.get("class") == "term"]
    assert terms == ["#term-odds-ratio", "#term-odds", "#term-odds-ratio", "#term-odds"]
    assert {"term-odds-ratio", "term-odds"} <= set(page.ids)
    assert "An <i>." in page.text


def test_what_is_no_term_of_the_page_is_plain_text() -> None:
    assert 'class="term"' not in to_html([Paragraph("density")], "T", lambda path: b"")


def test_tables_are_open_or_folded_and_can_be_scrolled_by_keyboard() -> None:
    for folded, expected in ((True, {}), (False, {"open": None})):
        page = Reader()
        page.feed(to_html(BLOCKS, "T", lambda path: b"", folded))
        assert [attributes for tag, attributes in page.tags if tag == "details"] == [{"open": None}, expected]
        (scroll,) = [attributes for _, attributes in page.tags if attributes.get("class") == "scroll"]
        assert scroll == {
            "class": "scroll",
            "role": "region",
            "tabindex": "0",
            "aria-label": "Table: A < B & C, 2 rows",
        }


def test_what_is_folded_is_under_its_line() -> None:
    page = read([Folded("More <here>:", (Paragraph("inside"),))])
    assert page.text[-2:] == ["More <here>:", "inside"]


def test_a_row_names_its_runs() -> None:
    page = read([table([("x", "l")], [("a",), ("b",)], runs=[("r1", "r2"), ('"><b>',)])])
    assert [attributes.get("data-runs") for tag, attributes in page.tags if tag == "tr"] == [None, "r1 r2", '"><b>']
