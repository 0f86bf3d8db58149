"""One way to write each character: typographic minus, full width digits, vulgar fractions, raised digits."""

from __future__ import annotations

import re
import unicodedata

_RAISED = {ord(raised): plain for raised, plain in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True)}
_LOWERED = {ord(lowered): plain for lowered, plain in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)}
_RUNS = ((re.compile(f"[{''.join(map(chr, _RAISED))}]+"), "^", _RAISED), (re.compile("[₀-₉]+"), "_", _LOWERED))
_FRACTION = re.compile("[¼-¾⅐-⅞↉]")
# Hyphens, dashes that stand for a minus, and what is not seen: zero width spaces, joiners, marks of direction.
_SAME = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"), "-") | {
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"), ""),
    ord("\u2014"): " ",
    ord("\u2044"): "/",
    ord("\u2215"): "/",
    ord("\u2019"): "'",
    ord("\u066c"): ",",
    ord("\u066b"): ".",
}


def plain(text: str) -> str:
    """The text with one character for each meaning; ``1½`` becomes ``1 1/2`` and ``cm²`` becomes ``cm^{2}``."""
    if text.isascii():
        return text
    text = _FRACTION.sub(lambda match: " " + unicodedata.normalize("NFKC", match[0]), text)
    for pattern, command, table in _RUNS:
        text = pattern.sub(lambda match: f"{command}{{{match[0].translate(table)}}}", text)  # noqa: B023
    text = unicodedata.normalize("NFKC", text).translate(_SAME)
    return "".join(str(unicodedata.decimal(each, each)) if each > "\x7f" else each for each in text)
