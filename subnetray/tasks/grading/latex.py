r"""The answer that a text gives in mathematics: its box, what it says the answer is, or its last mathematics."""

from __future__ import annotations

import re
from collections.abc import Iterator

from subnetray.tasks.grading import answer, numbers

_SPAN = re.compile(
    r"\$\$(.{1,1000}?)\$\$|(?<![\\\d$])\$(?=[^\s$])([^$\n]+?)(?<=[^\s\\])\$(?![\d$])|\\\((.{1,1000}?)\\\)|\\\[(.{1,1000}?)\\\]",
    re.DOTALL,
)
_DOLLAR = re.compile(r"(?<!\\)\$")
_JOINED = re.compile(r"[\s*,;&]*(?:and|or)?[\s*]*")
_MARKED = re.compile(r"####[ \t]*([-+$\\\d(.].*)")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_AHEAD = re.compile(r"(?:[\s:*(]|\b(?:the|that|value|number|point|set|interval|of|pair|ordered)\b)*", re.IGNORECASE)
_FOLLOWS = re.compile(r"\s*(?:$|[.,;:)!?](?!\d)|[A-Za-z]{2,}(?![A-Za-z]*[\\^_=]))")
_TAIL = 20_000  # characters at the end of a completion among which an answer without a box is looked for
_SHORT = 200  # characters of a completion that may be nothing but its answer


def of_reference(text: str) -> str:
    """The answer that a reference holds: its box, what follows ``####``, or all of a text that is an answer alone."""
    boxes = answer.boxed(text)
    if boxes.answer is not None:
        return boxes.answer
    marked = _MARKED.findall(text)
    if marked:
        return str(marked[-1])
    spans = list(_spans(text))
    outside = _SPAN.sub("", text)
    # A sentence around mathematics, as against an answer whose parts stand between dollars.
    if spans and re.search(r"[A-Za-z]{2}", re.sub(r"\b(?:and|or)\b", "", outside)):
        return next(iter(candidates(text)), text.strip())
    return ", ".join(spans) if spans else text


def candidates(text: str, money: bool = False) -> list[str]:
    """List what a completion may mean as its answer, the likeliest first; empty where it gives none.

    ``money``: a lone dollar is a currency sign. Otherwise it opens mathematics that was cut off, which are left out.
    """
    text = answer.spoken(text)
    boxes = answer.boxed(text)
    if boxes.any:
        return [] if boxes.answer is None else [boxes.answer]
    text = text[-_TAIL:]
    text = _SPAN.sub(lambda match: match[0].replace("\n", " "), text)
    outside = _SPAN.sub(lambda match: " " * len(match[0]), text)
    lone = [match.start() for match in _DOLLAR.finditer(outside)]
    if len(lone) % 2:
        text = _DOLLAR.sub("", text) if money else text[: lone[-1]]
    marked = _MARKED.findall(text)
    if marked:
        return [str(marked[-1])]
    sentence = answer.said(text)
    if sentence is not None:
        return _of_sentence(sentence)
    spans = _last_spans(text)
    if spans is not None:
        return [spans]
    bold = _BOLD.findall(text)
    found = [text.strip()] if len(text.strip()) <= _SHORT and text.strip() else []
    return found + bold[-1:] + _last_number(text)


def _of_sentence(sentence: str) -> list[str]:
    first = _SPAN.search(sentence)
    if first is not None:
        ahead = _AHEAD.match(sentence)
        if ahead is not None and ahead.end() >= first.start():
            return [_from(sentence, first)]
    found = [sentence]
    written = numbers.written(sentence)
    leading = numbers.numbers(sentence)[:1]
    if leading and not written[: leading[0].start].strip(" $*-+€£(") and _FOLLOWS.match(written, leading[0].end):
        found.append(written[: leading[0].end])
    return found


def _last_number(text: str) -> list[str]:
    """The last number of a text that is prose; formulas are not looked into."""
    if not re.search(r"(?<![\\A-Za-z])[A-Za-z]{2,}", text):
        return []
    written = numbers.written(text)
    found = numbers.numbers(text)[-1:]
    if not found or not _FOLLOWS.match(written, found[0].end):
        return []
    sign = "-" if not isinstance(found[0].value, tuple) and found[0].value < 0 else ""
    return [sign + written[found[0].start : found[0].end]]


def _spans(text: str) -> Iterator[str]:
    for match in _SPAN.finditer(text):
        yield next(group for group in match.groups() if group).strip()


def _from(text: str, first: re.Match[str]) -> str:
    """The mathematics that begin here, and those which only commas, "and" or "or" part from them."""
    parts, end = [next(group for group in first.groups() if group)], first.end()
    while (following := _SPAN.search(text, end)) is not None and _JOINED.fullmatch(text[end : following.start()]):
        parts.append(next(group for group in following.groups() if group))
        end = following.end()
    return ", ".join(parts)


def _last_spans(text: str) -> str | None:
    found: list[re.Match[str]] = []
    for match in _SPAN.finditer(text):
        if not found or not _JOINED.fullmatch(text[found[-1].end() : match.start()]):
            found = []
        found.append(match)
    return _from(text, found[0]) if found else None
