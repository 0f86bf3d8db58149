"""The HTML writer: well formed, self-contained, the same content as the Markdown."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from subnetray.reporting.document import Block, Bullets, Figure, Heading, Paragraph, table
from subnetray.reporting.writers.html import to_html

BLOCKS: list[Block] = [
    Heading(1, "A < B & C"),
    Paragraph("Some `code_x` and **strong** words."),
    Bullets(("one", "two")),
    Figure("figures/a.png", 'A "figure"'),
    table((("|Δ|, %", "l"), ("n", "r")), [("<b>", "1"), ("**x**", "−2")], "A caption."),
]


class Reader(HTMLParser):
    """Collects text and tags, and fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.text.append(data.strip())


def test_the_page_is_well_formed_and_escapes_text() -> None:
    page = Reader()
    page.feed(to_html(BLOCKS, "T & U", lambda path: b"png"))
    assert page.open == []
    assert page.text == [
        *("T & U", "A < B & C", "Some", "code_x", "and", "strong", "words.", "one", "two", 'A "figure"'),
        *("|Δ|, %", "n", "<b>", "1", "x", "−2", "A caption."),
    ]


def test_figures_are_inside_and_nothing_is_outside() -> None:
    data = bytes(range(256))
    text = to_html(BLOCKS, "T", lambda path: data if path == "figures/a.png" else b"")
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(encoded) == data
    page = Reader()
    page.feed(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "a", "iframe"}
    assert [attrs["alt"] for tag, attrs in page.tags if tag == "img"] == ['A "figure"']


def test_numbers_are_aligned_as_the_table_says() -> None:
    page = Reader()
    page.feed(to_html(BLOCKS, "T", lambda path: b""))
    cells = [attrs.get("class") for tag, attrs in page.tags if tag in ("th", "td")]
    assert cells == [None, "r"] * 3
