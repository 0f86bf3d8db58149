"""A report as data: blocks that the Markdown, HTML and LaTeX writers print.

Text may hold ``code`` in backticks and **strong** words in double asterisks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
