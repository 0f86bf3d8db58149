"""The Markdown writer (GitHub's dialect)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from subnetray.reporting.document import (
    Block,
    Bullets,
    Cards,
    Chart,
    Definitions,
    Figure,
    Folded,
    Heading,
    Kind,
    Paragraph,
    Runs,
    Table,
    spans,
)

_RULE = {"l": ":---", "r": "---:", "c": ":---:"}
# Tags, links, entities, emphasis, formulas, none of which a text means; not numbers in brackets, nor names_of_things.
_INLINE = re.compile(
    r"(?P<numbers>\[[\d,.+− ]+\](?![(\[:]))|[\\`<~$\[\]]|(?<!\s)\*|\*(?=\S)|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])"
)
# Signs that begin a block where they are the first of a line, and that may follow its number.
_START = re.compile(r"^(\s*\d*)([#>+=.)-])")


def to_markdown(blocks: Iterable[Block]) -> str:
    """The blocks as Markdown, ending in a newline."""
    return "\n\n".join(filter(None, map(_block, blocks))) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_text(text)}"
        case Paragraph(text):
            return _line(text)
        case Bullets(items):
            return "\n".join(f"- {_line(item)}" for item in items)
        case Definitions(entries):
            return "\n".join(f"- **{_text(term)}**: {_text(meaning)}" for term, meaning in entries)
        case Cards() | Runs():
            return ""
        case Chart(_, _, still):
            return "" if still is None else _block(still)
        case Folded(line, blocks):
            return "\n\n".join((_line(line), *filter(None, map(_block, blocks))))
        case Figure(path, caption):
            return f"![{_text(caption)}]({path})\n\n*{_text(caption)}*"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    lines = [_row(table.header), _row(tuple(_RULE[align] for align in table.align)), *map(_row, table.rows)]
    return "\n".join(lines) + (f"\n\n*{_text(table.caption)}*" if table.caption else "")


def _line(text: str) -> str:
    """Text that begins a line."""
    return _START.sub(r"\1\\\2", _text(text), count=1)


def _text(text: str) -> str:
    return "".join(_span(kind, part) for kind, part in spans(text))


def _span(kind: Kind, text: str) -> str:
    if kind == "code":
        return f"`{text}`"
    escaped = _INLINE.sub(lambda found: found["numbers"] or f"\\{found[0]}", text)
    return f"**{escaped}**" if kind == "strong" else escaped


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    # Of code a viewer would take a backslash before the one of a bar for an escape: with bars it is plain.
    parts = [("plain" if kind == "code" and "|" in part else kind, part) for kind, part in spans(text)]
    return "".join(_span(kind, part) for kind, part in parts).replace("|", "\\|")
