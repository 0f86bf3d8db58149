"""The values of arithmetic prompts, worked out apart from the task."""

from __future__ import annotations

import operator
import re

_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def value_of(prompt: str) -> int:
    """Return the value of a prompt such as ``12+34=``."""
    found = re.fullmatch(r"(\d+)([-+*])(\d+)=", prompt)
    assert found is not None, prompt
    value: int = _OPERATORS[found[2]](int(found[1]), int(found[3]))
    return value
