"""Rewards that come with the project, each 1.0 for a right completion and 0.0 for any other text."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?|[-−]?\.\d+")
_SECONDS = 2  # that math-verify may think about one text


def exact(prompt: Any, completion: str, reference: Any) -> float:
    """Whether the completion is the reference, white space around both aside."""
    return float(completion.strip() == str(reference).strip())


def number(prompt: Any, completion: str, reference: Any) -> float:
    """Whether the last number of the completion is the last of the reference; one that has none is no right answer."""
    found, wanted = _last_number(completion), _last_number(str(reference))
    return float(found is not None and found == wanted)


def math(prompt: Any, completion: str, reference: Any) -> float:
    r"""Whether the completion's answer, the last \boxed{} or else LaTeX between dollars, equals the reference's.

    A reference without LaTeX is LaTeX itself. Only LaTeX is parsed: sympy reads other text by executing it.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    def answer(text: str) -> Any:
        boxed = _last_boxed(text)
        return parse(boxed or text, extraction_config=[LatexExtractionConfig()], parsing_timeout=_SECONDS)

    text = str(reference)
    wanted = answer(text) or answer(f"${text}$")
    return float(bool(wanted) and verify(wanted, answer(completion), timeout_seconds=_SECONDS))


def make_math() -> Callable[[Any, str, Any], float]:
    """``math``, ready: its first use takes seconds, which no completion's time limit should bear."""
    math("", "$1$", "1")
    return math


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    depth = 0
    for place in range(start + 6, len(text)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start : place + 1]
    return None


def _last_number(text: str) -> Decimal | None:
    numbers = _NUMBER.findall(text)
    return Decimal(numbers[-1].replace(",", "").replace("−", "-")) if numbers else None
