"""Texts that others wrote (errors, names, values), as they are stored and shown: one line, no codes, not long."""

from __future__ import annotations

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
