"""The HTML writer: one file, figures inside, no link to the outside."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from subnetray.reporting.document import (
    Block,
    Bullets,
    Cards,
    Chart,
    Definitions,
    Figure,
    Folded,
    Heading,
    Paragraph,
    Runs,
    Table,
    spans,
)
from subnetray.reporting.writers.cards import cards
from subnetray.reporting.writers.page import data_script, library, packed, report_page

_TAGS = {"code": "<code>{}</code>", "strong": "<strong>{}</strong>"}

# Ids of a page that are no heading's.
_RESERVED = re.compile(r"(term|claim|run)-|(main|tip|runs)$")


def to_html(
    blocks: Sequence[Block], title: str, read: Callable[[str], bytes], folded: bool = False, again_s: int = 0
) -> str:
    """The blocks as one HTML file; ``read`` gives the bytes of a figure's path. Tables are ``folded``, or open.

    Charts bring the script that draws them, once. The page loads itself again every ``again_s`` seconds; 0: never.
    """
    terms = [term for block in blocks if isinstance(block, Definitions) for term, _ in block.entries]
    writer = _Writer(read, folded, _pattern(terms))
    body = "\n".join(map(writer.block, blocks))
    charts = any(isinstance(block, Chart) for block in blocks)
    return report_page(title, writer.contents(), body, library() if charts else "", again_s)


def _pattern(terms: Iterable[str]) -> re.Pattern[str] | None:
    words = "|".join(re.escape(term) for term in sorted(terms, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE) if words else None


@dataclass
class _Writer:
    """Writes blocks in their order, and remembers their headings and which terms a section has explained."""

    read: Callable[[str], bytes]
    folded: bool
    terms: re.Pattern[str] | None
    headings: list[tuple[int, str, str]] = field(default_factory=list)  # level, id, text as blocks have it
    explained: set[str] = field(default_factory=set)

    def block(self, block: Block) -> str:
        match block:
            case Heading(level, text):
                return self._heading(level, text)
            case Paragraph(text):
                return f"<p>{self.inline(text)}</p>"
            case Bullets(items):
                return "<ul>\n" + "".join(f"<li>{self.inline(item)}</li>\n" for item in items) + "</ul>"
            case Figure(_, caption):
                return f"<figure>\n{self._image(block)}\n{self._caption(caption)}</figure>"
            case Chart(spec, caption, still):
                image = "" if still is None else self._image(still)
                data = data_script("chart", packed(spec))
                return f'<figure class="chart">\n{image}\n{data}\n{self._caption(caption)}</figure>'
            case Runs(pages):
                return f'<section id="runs" aria-live="polite" hidden></section>\n{data_script("runs", pages)}'
            case Definitions(entries):
                listed = "".join(
                    f'<dt id="term-{_slug(term)}">{_inline(term)}</dt><dd>{_inline(meaning)}</dd>\n'
                    for term, meaning in entries
                )
                return f"<dl>\n{listed}</dl>"
            case Cards(listed):
                return cards(listed, _inline)
            case Folded(line, inside):
                body = "\n".join(map(self.block, inside))
                return f"<details>\n<summary>{_inline(line)}</summary>\n{body}\n</details>"
            case Table():
                return self._table(block)

    def contents(self) -> str:
        """The headings below the title, as a list of links, those of level 3 inside of those of level 2."""
        sections: list[tuple[str, list[str]]] = []
        for level, name, text in self.headings:
            link = f'<a href="#{name}">{_inline(text)}</a>'
            if level == 2 or (level == 3 and not sections):
                sections.append((link, []))
            elif level == 3:
                sections[-1][1].append(f"<li>{link}</li>\n")
        items = (
            f"<li>{link}" + (f"\n<ul>\n{''.join(inside)}</ul>" if inside else "") + "</li>\n"
            for link, inside in sections
        )
        return f"<ul>\n{''.join(items)}</ul>"

    def _image(self, figure: Figure) -> str:
        data = base64.b64encode(self.read(figure.path)).decode()
        return f'<img alt="{html.escape(_plain(figure.caption))}" src="data:image/png;base64,{data}">'

    def _heading(self, level: int, text: str) -> str:
        slug = _slug(_plain(text))
        if _RESERVED.match(slug):
            slug = f"section-{slug}"
        taken = {name for _, name, _ in self.headings}
        name = next(each for each in (slug, *(f"{slug}-{n}" for n in range(2, len(taken) + 3))) if each not in taken)
        self.headings.append((level, name, text))
        if level <= 2:
            self.explained.clear()
        return f'<h{level} id="{name}">{_inline(text)}</h{level}>'

    def _table(self, table: Table) -> str:
        columns = list(zip(table.header, table.align, strict=True))
        head = "".join(_cell('th scope="col"', self.inline(text), align) for text, align in columns)
        body = "".join(
            "<tr"
            + (f' data-runs="{html.escape(" ".join(table.runs[index]))}"' if table.runs else "")
            + ">"
            + "".join(_cell("td", _inline(text), align) for text, align in zip(row, table.align, strict=True))
            + "</tr>\n"
            for index, row in enumerate(table.rows)
        )
        grid = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
        rows = "1 row" if len(table.rows) == 1 else f"{len(table.rows)} rows"
        name = f"Table: {_plain(self.headings[-1][2])}, {rows}" if self.headings else f"Table of {rows}"
        label = html.escape(name)
        scroll = f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">\n{grid}\n</div>'
        state = "" if self.folded else " open"
        return (
            f"<figure>\n<details{state}>\n<summary>{label}</summary>\n{scroll}\n"
            f"{self._caption(table.caption)}</details>\n</figure>"
        )

    def _caption(self, text: str) -> str:
        return f"<figcaption>{self.inline(text)}</figcaption>\n" if text else ""

    def inline(self, text: str) -> str:
        """A text whose terms, each once a section, lead to the glossary."""
        return "".join(
            _TAGS[kind].format(html.escape(part)) if kind in _TAGS else self._explain(part)
            for kind, part in spans(text)
        )

    def _explain(self, text: str) -> str:
        if self.terms is None:
            return html.escape(text)
        parts, end = [], 0
        for found in self.terms.finditer(text):
            slug = _slug(found[0])
            if slug in self.explained:
                continue
            self.explained.add(slug)
            parts.append(html.escape(text[end : found.start()]))
            parts.append(f'<a class="term" href="#term-{slug}">{html.escape(found[0])}</a>')
            end = found.end()
        return "".join((*parts, html.escape(text[end:])))


def _cell(tag: str, content: str, align: str) -> str:
    attribute = "" if align == "l" else f' class="{align}"'
    return f"<{tag}{attribute}>{content}</{tag.split()[0]}>"


def _inline(text: str) -> str:
    return "".join(_TAGS.get(kind, "{}").format(html.escape(part)) for kind, part in spans(text))


def _plain(text: str) -> str:
    return "".join(part for _, part in spans(text))


def _slug(text: str) -> str:
    """A text as an id: its words, in lower case."""
    return "-".join(re.findall(r"\w+", text.lower())) or "section"
