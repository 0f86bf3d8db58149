r"""Whether two answers are the same mathematics: form by form, and scalars and equations by math-verify."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Callable
from functools import cache
from typing import Any

from subnetray.tasks.grading import form, numbers, units

_SECONDS = 2.0  # of processor time for one comparison: what takes longer is no answer
_READ, _LONG = 20_000, 2_000  # characters of an answer: before it is tidied, and after
_MAGNITUDE = 2_000  # largest exponent and factorial that is worked out
_PLACES = 40  # to which constants that are no fractions are worked out
_EQUALS = re.compile(r"(?<![<>!\\:])=(?!=)")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,\d{3})+(?![\d,])|(?: \d{3})+(?![\d ]))")
_BASED = re.compile(r"-?[0-9A-Fa-f.]+_\{\d+\}")
_LINE = r"\\(?:overline|bar|dot)(?![a-z])\s*"
_DECIMAL = re.compile(rf"(\d*)\.(\d*){_LINE}\{{(\d+)\}}|(\d*)\.(\d+)({_LINE}(\d))?")
_MEMBER = re.compile(r"[a-zA-Z]\s*\\in(?![a-z])\s*")


class _Late(BaseException):
    """The time for a comparison is over; no exception, so that no library takes it for one of its own."""


def same(gold: str, answer: str) -> bool:
    """Return whether an answer in LaTeX is the gold one; False for what cannot be read, or not in time."""
    if max(len(gold), len(answer)) > _READ:
        return gold == answer
    if units.differ(units.currency(gold), units.currency(answer)):
        return False
    ready()
    return _in_time(lambda: _answers(form.tidy(gold), form.tidy(answer)))


@cache
def ready() -> None:
    """Import what comparing takes and use it once, which takes seconds: no completion's time should bear it."""
    # Said once and for all by math-verify: that its own limit of time, by the clock, is off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    for gold, answer in (
        (r"\sqrt{12}", r"2\sqrt{3}"),
        ("2k+2", "2(k+1)"),
        ("[-3,3]", r"-3 \le x \le 3"),
        ("y=x", "x-y=0"),
    ):
        assert _verified(gold, answer)


def _answers(gold: str, answer: str) -> bool:
    if not gold or not answer:
        return False
    if _compact(gold) == _compact(answer):
        return True
    if max(len(gold), len(answer)) > _LONG:
        return False
    wanted, chosen = form.choice(gold), form.choice(answer)
    names = [sorted(form.listed(form.words(each))) for each in (gold, answer)]
    if names[0] == names[1] and len(names[0]) > 1 and all(map(str.isalpha, names[0])):
        return True
    if wanted and chosen:
        return wanted[0] == chosen[0]
    if wanted and wanted[1]:
        return _answers(wanted[1], answer)
    if chosen and chosen[1]:
        return _answers(gold, chosen[1])
    if form.is_text(gold) or form.is_text(answer):
        if names[0] == names[1]:
            return True
        one, other = (numbers.whole(form.words(each) if form.is_text(each) else each) for each in (gold, answer))
        if one is not None and other is not None:
            return numbers.same(one, other)
        if "\\text" in gold + answer or (form.is_text(gold) and form.is_text(answer)):
            return False
    together = [_THOUSANDS.sub(lambda match: re.sub("[ ,]", "", match[0]), each) for each in (gold, answer)]
    return _same(gold, answer) or (together != [gold, answer] and _same(*together))


def _same(gold: str, answer: str) -> bool:
    """Return whether two tidy answers are one, by what they are made of."""
    gold, answer = _MEMBER.sub("", gold, count=1), _MEMBER.sub("", answer, count=1)
    if _compact(gold) == _compact(answer):
        return True
    table, other = form.rows(gold), form.rows(answer)
    if table is not None and other is not None:
        return _tables(table, other)
    if "matrix}" in gold or "matrix}" in answer:  # as a product of a number and a matrix
        return "matrix}" in gold and "matrix}" in answer and _verified(gold, answer)
    point, named = _point(gold), _point(answer)
    if (point is None) != (named is None):
        groups = point or form.grouped(gold), named or form.grouped(answer)
        if groups[0] is not None and groups[1] is not None:
            return _ordered(groups[0], groups[1])
    parts = _items(gold), _items(answer)
    unions = form.split(gold, "\\cup"), form.split(answer, "\\cup")
    if min(map(len, unions)) > 1 and _unordered(*unions):
        return True
    if max(map(len, parts)) > 1:
        # Intervals that are united, and inequalities of which one or the other holds.
        return _unordered(*(union if len(union) > 1 else part for union, part in zip(unions, parts, strict=True)))
    (gold,), (answer,) = parts
    groups = form.grouped(gold), form.grouped(answer)
    for text, group, swap in ((answer, groups[0], False), (gold, groups[1], True)):
        if group is not None and len(group.parts) == 1 and group.opening == "(" and group.closing == ")":
            return _same(text, group.parts[0]) if swap else _same(group.parts[0], text)
    if groups[0] is not None and groups[1] is not None:
        return _ordered(groups[0], groups[1])
    return _sides(gold, answer)


def _items(text: str) -> list[str]:
    group = form.grouped(text)
    is_set = group is not None and group.opening == "{" and group.closing == "}"
    parts = group.parts if group is not None and is_set else form.listed(text)
    return [
        each
        for part in parts
        for each in (
            [part.replace("\\pm", "+").replace("\\mp", "-"), part.replace("\\pm", "-").replace("\\mp", "+")]
            if "\\pm" in part or "\\mp" in part
            else [part]
        )
    ]


def _point(text: str) -> form.Group | None:
    """The point that ``x = 1, y = 2`` names, in order of its names; None for anything else."""
    sides = [_equated(part) for part in form.listed(text)]
    if len(sides) < 2 or not all(len(each) == 2 and re.fullmatch(r"[a-zA-Z](?:_\{\d\})?", each[0]) for each in sides):
        return None
    values = dict(sides)
    return form.Group("(", ")", [values[name] for name in sorted(values)]) if len(values) == len(sides) else None


def _unordered(golds: list[str], answers: list[str]) -> bool:
    if len(golds) != len(answers):
        return False
    left = list(answers)
    for gold in golds:
        place = next((place for place, answer in enumerate(left) if _same(gold, answer)), None)
        if place is None:
            return False
        del left[place]
    return True


def _ordered(gold: form.Group, answer: form.Group) -> bool:
    return (
        (gold.opening, gold.closing) == (answer.opening, answer.closing)
        and len(gold.parts) == len(answer.parts)
        and all(map(_same, gold.parts, answer.parts))
    )


def _tables(gold: list[list[str]], answer: list[list[str]]) -> bool:
    return [len(row) for row in gold] == [len(row) for row in answer] and all(
        all(map(_same, *both)) for both in zip(gold, answer, strict=True)
    )


def _sides(gold: str, answer: str) -> bool:
    """The same of equations, of which ``x = 5`` is also what stands on its right, and of scalars."""
    golds, answers = _equated(gold), _equated(answer)
    if len(golds) == len(answers) == 1:
        return _scalars(gold, answer)
    if len(answers) == 1:
        return _named(golds) is not None and _same(str(_named(golds)), answer)
    if len(golds) == 1:
        return _same(gold, _named(answers) or answers[-1])
    if _compact(golds[0]) == _compact(answers[0]) and _is_name(golds[0]):
        return _same(golds[-1], answers[-1])
    return _verified(f"{golds[0]}={golds[-1]}", f"{answers[0]}={answers[-1]}")


def _equated(text: str) -> list[str]:
    r"""The sides of an equation; what is equal within a group, as in ``\sum_{k=1}``, parts none."""
    sides, start, depth, place = [], 0, 0, 0
    for match in _EQUALS.finditer(text):
        depth += text.count("{", place, match.start()) - text.count("}", place, match.start())
        place = match.end()
        if depth <= 0:
            sides.append(text[start : match.start()].strip())
            start = match.end()
    return [*sides, text[start:].strip()]


def _named(sides: list[str]) -> str | None:
    """Return the other side of an equation with a name on one side; None where there is no such name."""
    if _is_name(sides[0]):
        return sides[-1]
    return sides[0] if _is_name(sides[-1]) else None


def _is_name(side: str) -> bool:
    side = re.sub(r"_\{?\w+\}?|\([^()]*\)$|\\text\s*\{[^{}]*\}|'", "", side)
    return not re.search(r"[\d+*/^\-]|\\[dtc]?(?:frac|sqrt)", side)


def _scalars(gold: str, answer: str) -> bool:
    (gold, unit), (answer, other) = units.split(gold), units.split(answer)
    if units.differ(unit, other):
        return False
    if _compact(gold) == _compact(answer):
        return True
    if _BASED.fullmatch(_compact(gold)) or _BASED.fullmatch(_compact(answer)):
        return False
    one, two = numbers.whole(gold), numbers.whole(answer)
    if one is not None and two is not None and isinstance(one.value, tuple) == isinstance(two.value, tuple):
        return numbers.same(one, two)
    if ("dots" in gold) != ("dots" in answer):
        return False
    shares = gold.endswith("%"), answer.endswith("%")
    if any(shares):
        gold, answer = gold.removesuffix("%"), answer.removesuffix("%")
        return _verified(gold, answer) or (not all(shares) and _verified(*_hundredth(gold, answer, shares)))
    return _verified(gold, answer)


def _hundredth(gold: str, answer: str, shares: tuple[bool, bool]) -> tuple[str, str]:
    """The two with the hundredth in place of the one that is a percentage."""

    def of(text: str, share: bool) -> str:
        return rf"\frac{{{text}}}{{100}}" if share else text

    return of(gold, shares[0]), of(answer, shares[1])


def _verified(gold: str, answer: str) -> bool:
    """Ask math-verify about two expressions, with decimals as the fractions that they are: none is rounded."""
    from math_verify import verify

    wanted, found = _parsed(gold), _parsed(answer)
    if wanted is None or found is None or _is_huge(wanted) or _is_huge(found):
        return False
    same_to_15_places = verify(wanted, found, allow_set_relation_comp=True, timeout_seconds=None)
    return bool(same_to_15_places) and _is_near(wanted, found)


def _is_near(one: Any, other: Any) -> bool:
    """Return whether two constants are one by more than their first places: two small numbers look the same there."""
    import sympy  # type: ignore[import-untyped]

    if not all(isinstance(each, sympy.Expr) and each.is_number for each in (one, other)):
        return True
    one, other = one.doit(), other.doit()
    if one.is_Rational and other.is_Rational:
        return bool(one == other)
    a, b = one.evalf(_PLACES), other.evalf(_PLACES)
    return bool(abs(a - b) <= abs(a) * sympy.Float(10) ** (-_PLACES // 2) + sympy.Float(10) ** -_PLACES)


def _parsed(text: str) -> Any:
    from latex2sympy2_extended import NormalizationConfig  # type: ignore[import-untyped]
    from math_verify import LatexExtractionConfig, parse

    # Units are taken off before: it takes the t of 3t for one. Only LaTeX is parsed: other text sympy would execute.
    normal = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="last")
    text = _DECIMAL.sub(_fraction, text.replace(r"\text{degrees}", ""))
    found = parse(
        rf"\boxed{{{text}}}",
        extraction_config=[LatexExtractionConfig(normalization_config=normal)],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return found[0] if found else None


def _fraction(match: re.Match[str]) -> str:
    r"""A decimal as ``\frac{}{}``; digits under a line repeat without end."""
    if match[3]:
        whole, once, again = match[1], match[2], match[3]
    else:
        whole, once, again = match[4], match[5], match[7] or ""
        if match[6]:
            return rf"\frac{{{int((whole + once + again) or 0) - int((whole + once) or 0)}}}{{9{'0' * len(once)}}}"
    if not again:
        return rf"\frac{{{int(whole + once)}}}{{1{'0' * len(once)}}}"
    above = int((whole + once + again) or 0) - int((whole + once) or 0)
    return rf"\frac{{{above}}}{{{'9' * len(again)}{'0' * len(once)}}}"


def _is_huge(expression: Any) -> bool:
    """Whether working an expression out could take more than memory and time allow, whatever it is compared with."""
    import sympy

    if not isinstance(expression, sympy.Basic):
        return False
    for part in sympy.preorder_traversal(expression):
        if isinstance(part, sympy.Pow) and part.exp.is_number and not _at_most(part.exp, _MAGNITUDE):
            return True
        if isinstance(part, sympy.factorial | sympy.binomial | sympy.factorial2 | sympy.gamma) and not all(
            not each.is_number or _at_most(each, _MAGNITUDE) for each in part.args
        ):
            return True
    return False


def _at_most(number: Any, limit: int) -> bool:
    """Return whether a constant is a plain one, without powers and factorials of its own, of at most this size."""
    import sympy

    if number.has(sympy.factorial, sympy.binomial, sympy.gamma) or any(
        each.exp.is_number and not (each.exp.is_Rational and abs(each.exp) <= 10) for each in number.atoms(sympy.Pow)
    ):
        return False
    return bool(abs(number.evalf(5)) <= limit)


def _compact(text: str) -> str:
    return re.sub(r"\s+|\\text\{degrees\}", "", text)


def _in_time(compare: Callable[[], bool]) -> bool:
    """Return what the comparison says, or False where it fails or takes too long: completions end no run."""

    def late(*_: object) -> None:
        raise _Late

    try:
        before = signal.signal(signal.SIGVTALRM, late)
    except ValueError:  # of a thread that is not the main one, which a limit of the whole process holds
        return _or_false(compare)
    try:
        # Again and again: what catches it once, as a bare except does, is told a second time.
        signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS, 0.2)
        return _or_false(compare)
    except _Late:
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _or_false(compare: Callable[[], bool]) -> bool:
    try:
        return compare()
    except (Exception, RecursionError, MemoryError):
        return False
