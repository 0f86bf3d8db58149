"""Text that others wrote, such as names of tensors, made fit to be shown: one line, no control codes, not too long."""

from __future__ import annotations

import math


def shown(text: str, limit: int = 160) -> str:
    """``text`` with what is no printable character spelt out (``\\x1b``), cut in its middle beyond ``limit``.

    Terminal codes, line breaks, marks that turn the direction of writing and lone surrogates are not printable.
    """
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
