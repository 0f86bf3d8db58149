"""Rewards that come with the project, each 1.0 for a right completion and 0.0 for any other text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What they take is imported when one is used: compiling its patterns is work that most processes do without.


def exact(prompt: Any, completion: str, reference: Any) -> float:
    """Return whether the completion is the reference, white space around both aside."""
    return float(completion.strip() == str(reference).strip())


def number(prompt: Any, completion: str, reference: Any) -> float:
    """Whether the number that the completion ends in is that of the reference; ``docs/tasks.md`` has the rules."""
    from subnetray.tasks.grading import numbers

    found, wanted = numbers.final(completion), numbers.final(str(reference))
    return float(found is not None and wanted is not None and numbers.same(wanted, found))


def math(prompt: Any, completion: str, reference: Any) -> float:
    r"""Whether the completion's answer is the reference's as mathematics; ``docs/tasks.md`` has the rules."""
    from subnetray.tasks.grading import latex, maths

    gold = latex.of_reference(str(reference))
    money = "$" in gold and len(gold.replace("\\$", "").split("$")) < 3
    return float(any(maths.same(gold, answer) for answer in latex.candidates(completion, money)))


def make_math() -> Callable[[Any, str, Any], float]:
    """``math``, ready: its first use takes seconds, which no completion's time limit should bear."""
    from subnetray.tasks.grading import maths

    maths.ready()
    return math
