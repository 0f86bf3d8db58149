"""A report as data: blocks that the Markdown, HTML and LaTeX writers print.

Text may hold ``code`` in backticks and **strong** words in double asterisks; writers escape all else. What others wrote
(an error says, for one) is put in as :func:`quoted`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
    """``align`` holds one of l, r, c for each column; ``runs`` the ids of the runs behind each row, or nothing."""

    header: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    runs: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.runs and len(self.runs) != len(self.rows):
            raise ValueError(f"runs of {len(self.runs)} rows in a table of {len(self.rows)}")
        for cells in (self.align, *self.rows):
            if len(cells) != len(self.header):
                raise ValueError(f"a row of {len(cells)} cells in a table of {len(self.header)} columns: {cells}")


@dataclass(frozen=True)
class Figure:
    """A PNG, relative to the report."""

    path: str
    caption: str


@dataclass(frozen=True)
class Definitions:
    """Terms, each with what it means. A page links where they stand in its text."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Card:
    """A claim that was tested. The estimate, the ends of its interval (NaN if there is none) and those between which
    the claim ``holds`` (infinite if open) are in ``unit``; ``facts`` are what else there is to say, a line each."""

    key: str
    statement: str
    verdict: str
    estimate: tuple[float, float, float]
    holds: tuple[float, float]
    unit: str
    level: float
    note: str
    facts: tuple[str, ...]
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Cards:
    """Claims as a page draws them; what they say stands in a table beside, which is all that is printed elsewhere."""

    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Folded:
    """Blocks that a page folds under a line."""

    line: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Chart:
    """A chart in Vega-Lite whose data are the dataset ``rows``; elsewhere than on a page, and until it is drawn there,
    its ``still`` picture, if it has one."""

    spec: Mapping[str, Any]
    caption: str
    still: Figure | None = None


@dataclass(frozen=True)
class Runs:
    """What a page shows of each run, by its id; elsewhere nothing is."""

    pages: Mapping[str, Any]


Block = Heading | Paragraph | Bullets | Table | Figure | Definitions | Cards | Folded | Chart | Runs


def table(
    header: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    runs: Sequence[Sequence[str]] = (),
) -> Table:
    """A table from (title, alignment) of each column."""
    return Table(
        tuple(title for title, _ in header),
        "".join(align for _, align in header),
        tuple(map(tuple, rows)),
        caption,
        tuple(map(tuple, runs)),
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
