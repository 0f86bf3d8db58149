r"""Where a completion says what its answer is: after its thoughts, in ``\boxed{}``, after ``the answer is``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*")
_TOKEN = re.compile(r"\\[^$\n]*|[^\s$\\{}]+")
# What may stand between two boxes that are one answer: a comma, "and", "or", the name of the second root.
_NOISE = re.compile(r"\\[()\[\],;:! ]|\\(?:q?quad|text|mathrm|mbox)(?![a-zA-Z])|[${}\s*_\\]")
_TOGETHER = re.compile(r"[,;&]?(?:and|or)?(?:[a-zA-Z]\d*=)?")
_SAYS = re.compile(
    r"""\b(?:answers?|(?:correct|right|best)\s+(?:option|choice))\b
    (?:\s+(?:to|of|for)\s+(?:the|this)\s+(?:\w+\s+)?(?:problem|question|task))?[*_\s]*
    (?:\b(?:is|are|was|(?:would|will|must|should)\s+be|equals)\b(?!\s*not\b)|=|:)
    [*_\s]*:?[*_\s]*(?:(?:therefore|thus|then|simply|just|exactly|equal\s+to)\b[,:]?\s*)*
    |^[\#*_ ]*(?:final\s+)?answers?[*_ ]*\n[*_\s]*""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_END = re.compile(r"\n|(?<=[^.])[.!?](?=\s|\*|$)|[;](?=\s)")


class Boxes(NamedTuple):
    """Return whether a text has ``any`` box, and the answer in its boxes; None where none was closed."""

    any: bool
    answer: str | None


def spoken(text: str) -> str:
    """Return what follows ``</think>`` (nothing if thoughts have no end), or stands between ``<answer>`` tags."""
    _, ended, rest = text.rpartition("</think>")
    text = rest if ended else text
    text = text.partition("<think>")[0]
    _, tag, answer = text.rpartition("<answer>")
    return answer.partition("</answer>")[0] if tag else text


def boxed(text: str) -> Boxes:
    r"""The last whole box of a text, or the last ones where only commas, "and" or "or" stand between them.

    Boxes are ``\boxed{}``, ``\fbox{}`` and ``\boxed 5``. One that was cut off, or is empty, is none.
    """
    found = list(_boxes(text))
    whole = [box for box in found if box[2]]
    if not whole:
        return Boxes(any(content is None for _, _, content in found), None)
    answers = [whole[-1][2]]
    for before, after in zip(reversed(whole[:-1]), reversed(whole), strict=False):
        if not _TOGETHER.fullmatch(_NOISE.sub("", text[before[1] : after[0]])):
            break
        if before[2] not in answers:
            answers.append(before[2])
    return Boxes(True, ", ".join(str(answer) for answer in reversed(answers)))


def said(text: str) -> str | None:
    """The rest of the sentence after the last ``the answer is`` or ``Answer:``; None where nothing follows."""
    for match in reversed(list(_SAYS.finditer(text))):
        end = _END.search(text, match.end())
        sentence = text[match.end() : end.start() if end else None].strip().strip("*_`").strip()
        if sentence:
            return sentence
    return None


def closings(text: str) -> dict[int, int]:
    """Map where each closed group ``{...}`` opens to where it ends; a backslash makes a brace a character."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            pairs[opened.pop()] = match.end()
    return pairs


def _boxes(text: str) -> Iterator[tuple[int, int, str | None]]:
    """Start, end and content of every outermost box; None is the content of one without an end."""
    pairs = closings(text)
    place = 0
    while (match := _BOX.search(text, place)) is not None:
        place = match.end()
        if text[place : place + 1] == "{":
            end = pairs.get(place)
            yield match.start(), end or place, None if end is None else _unboxed(text[place + 1 : end - 1]).strip()
            place = end or place
        elif (token := _TOKEN.match(text, place)) is not None:
            place = token.end()
            yield match.start(), place, token[0].strip().rstrip(".,;:")
        else:
            yield match.start(), place, None


def _unboxed(text: str) -> str:
    """The text without the commands of boxes within it."""
    return _BOX.sub("", text)
