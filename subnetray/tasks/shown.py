"""Text of others as it stands in a sentence: on one line, without what a terminal would obey, and not too long."""

from __future__ import annotations


def shown(text: object, limit: int = 120) -> str:
    """The text with what cannot be printed escaped, and without its middle beyond ``limit`` characters."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(text))
    half = (limit - 3) // 2
    return line if len(line) <= limit else f"{line[:half]}...{line[-half:]}"
