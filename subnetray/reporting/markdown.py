"""The Markdown writer (GitHub's dialect)."""

from __future__ import annotations

from collections.abc import Iterable

from subnetray.reporting.document import Block, Bullets, Figure, Heading, Paragraph, Table

_RULE = {"l": ":---", "r": "---:", "c": ":---:"}


def to_markdown(blocks: Iterable[Block]) -> str:
    """The blocks as Markdown, ending in a newline."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return _text(text)
        case Bullets(items):
            return "\n".join(f"- {_text(item)}" for item in items)
        case Figure(path, caption):
            return f"![{caption}]({path})\n\n*{caption}*"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    lines = [_row(table.header), _row(tuple(_RULE[align] for align in table.align)), *map(_row, table.rows)]
    return "\n".join(lines) + (f"\n\n*{table.caption}*" if table.caption else "")


def _text(text: str) -> str:
    # What a failed run says may hold tags, as in <class 'int'>, which a viewer of Markdown would swallow.
    return text.replace("<", "\\<")


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_text(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
