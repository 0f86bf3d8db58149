"""Texts that others wrote (errors, names, values), as they are stored and shown: one line, no codes, not long."""

from __future__ import annotations

import math
import re
import unicodedata

LIMIT = 2000  # characters that are kept of a text in results, tables and reports
LINE = 300  # and in a line of progress

# ECMA-48: operating system commands and their kin up to their end, control sequences, and other escapes of two bytes.
_CODES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
# Control and format characters, those that set the direction of writing among them, halves of characters, line ends.
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def clean(text: object, limit: int = LIMIT) -> str:
    """``text`` as one line of at most ``limit`` characters, without terminal codes and what else cannot be seen."""
    # What is beyond could hardly show: a text of a gigabyte need not be looked at to its end.
    line = " ".join(visible(str(text)[: 64 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def visible(text: str) -> str:
    """``text`` without terminal codes, and with a blank for what else cannot be seen, ends of lines too."""
    plain = _CODES.sub("", text)
    return plain if plain.isprintable() else "".join(" " if _unseen(each) else each for each in plain)


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def reason(error: BaseException, limit: int = LIMIT) -> str:
    """The innermost cause of an error with its kind, cleaned; of a traceback that it quotes, the last line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    if "Traceback (most recent call last)" in text:
        text = text.splitlines()[-1]
    return clean(f"{type(error).__name__}: {text or 'no message'}", limit)


def shown(text: object, limit: int = 160) -> str:
    """``text`` with what is no printable character spelt out (``\\x1b``), cut in its middle beyond ``limit``.

    Terminal codes, line breaks, marks that turn the direction of writing and lone surrogates are not printable.
    """
    text = str(text)
    if len(text) > 4 * limit:  # what is cut off anyway need not be looked at
        text = text[: 2 * limit] + text[-2 * limit :]
    spelt = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return shortened(spelt, limit)


def one_line(text: str, limit: int = 480) -> str:
    """A sentence on one line of no more than ``limit`` characters."""
    return shown(" ".join(text.split()), limit)


def shortened(text: str, limit: int) -> str:
    """``text``, cut in its middle beyond ``limit`` characters: both ends of a name say something."""
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def percent(share: float) -> str:
    """A share in percent, rounded down: what is not everything does not look like it."""
    if share >= 1:
        return "100 %"
    floored = math.floor(share * 10_000) / 100
    return f"{floored:.2f} %" if floored else "less than 0.01 %" if share else "0 %"
