"""The HTML writer: one file, figures inside, no script, no link to the outside."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable

from subnetray.reporting.document import Block, Bullets, Figure, Heading, Paragraph, Table, spans

_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 76rem; margin: 2rem auto;
  padding: 0 1.5rem; }
h1, h2, h3 { line-height: 1.2; margin: 2.2rem 0 0.8rem; }
h1 { margin-top: 0; }
p, ul { max-width: 56rem; }
code { font: 0.92em ui-monospace, monospace; background: #f2f2f2; padding: 0 0.2em; border-radius: 3px; }
figure { margin: 1.2rem 0; overflow-x: auto; }
figcaption { color: #555; font-size: 0.88rem; max-width: 56rem; margin-top: 0.5rem; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.86rem; font-variant-numeric: tabular-nums; }
th { text-align: left; vertical-align: bottom; border-bottom: 2px solid #1a1a1a; font-weight: 600; }
th, td { padding: 0.25rem 0.7rem 0.25rem 0; }
td { border-bottom: 1px solid #e3e3e3; vertical-align: top; }
.r { text-align: right; white-space: nowrap; }
th.r { white-space: normal; }
.c { text-align: center; }
""".strip()

_TAGS = {"plain": "{}", "code": "<code>{}</code>", "strong": "<strong>{}</strong>"}


def to_html(blocks: Iterable[Block], title: str, read: Callable[[str], bytes]) -> str:
    """The blocks as one HTML file; ``read`` gives the bytes of a figure's path."""
    return page(title, "\n".join(_block(block, read) for block in blocks))


def page(title: str, body: str, css: str = "") -> str:
    """A whole page around ``body``, which is HTML already; ``css`` is added to that of all pages."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_CSS}\n{css}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _block(block: Block, read: Callable[[str], bytes]) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_inline(text)}</p>"
        case Bullets(items):
            return "<ul>\n" + "".join(f"<li>{_inline(item)}</li>\n" for item in items) + "</ul>"
        case Figure(path, caption):
            data = base64.b64encode(read(path)).decode()
            image = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
            return f"<figure>\n{image}\n{_caption(caption)}</figure>"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    head = "".join(_cell("th", text, align) for text, align in zip(table.header, table.align, strict=True))
    rows = (
        "".join(_cell("td", text, align) for text, align in zip(row, table.align, strict=True)) for row in table.rows
    )
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    grid = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    return f"<figure>\n{grid}\n{_caption(table.caption)}</figure>"


def _cell(tag: str, text: str, align: str) -> str:
    attribute = "" if align == "l" else f' class="{align}"'
    return f"<{tag}{attribute}>{_inline(text)}</{tag}>"


def _caption(text: str) -> str:
    return f"<figcaption>{_inline(text)}</figcaption>\n" if text else ""


def _inline(text: str) -> str:
    return "".join(_TAGS[kind].format(html.escape(part)) for kind, part in spans(text))
