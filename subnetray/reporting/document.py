"""A report as data: blocks that the Markdown, HTML and LaTeX writers print.

Text may hold ``code`` in backticks and **strong** words in double asterisks; writers escape all else. What others wrote
(an error says, for one) is put in as :func:`quoted`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from subnetray.text import LIMIT, clean, visible

Kind = Literal["plain", "code", "strong"]
_MARKED = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<strong>.+?)\*\*")


@dataclass(frozen=True)
class Heading:
    """``level`` 1 is the title."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """``align`` holds one of l, r, c for each column."""

    header: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        for cells in (self.align, *self.rows):
            if len(cells) != len(self.header):
                raise ValueError(f"a row of {len(cells)} cells in a table of {len(self.header)} columns: {cells}")


@dataclass(frozen=True)
class Figure:
    """A PNG, relative to the report."""

    path: str
    caption: str


Block = Heading | Paragraph | Bullets | Table | Figure


def table(header: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], caption: str = "") -> Table:
    """A table from (title, alignment) of each column."""
    return Table(
        tuple(title for title, _ in header), "".join(align for _, align in header), tuple(map(tuple, rows)), caption
    )


def quoted(text: object, limit: int = LIMIT) -> str:
    """Somebody else's text as code, in which no writer finds anything to interpret; never empty."""
    return f"`{clean(text, limit).replace('`', chr(39)) or '–'}`"


def spans(text: str) -> Iterator[tuple[Kind, str]]:
    """The parts of a text, as one line, each with what it is; strong words hold neither code nor other strong ones."""
    text, end = visible(text), 0
    for match in _MARKED.finditer(text):
        if match.start() > end:
            yield "plain", text[end : match.start()]
        yield ("code", match["code"]) if match["code"] is not None else ("strong", match["strong"])
        end = match.end()
    if end < len(text):
        yield "plain", text[end:]
