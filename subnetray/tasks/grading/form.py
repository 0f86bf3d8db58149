r"""What an answer in LaTeX is made of: lists, pairs, intervals, matrices, units, in one way of writing each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from subnetray.tasks.grading.answer import closings
from subnetray.tasks.grading.characters import plain

_SIGNS = {
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "±": r"\pm ", "∓": r"\mp ", "≈": r"\approx ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\neq ", "\u222a": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ",
    "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "∞": r"\infty ", "°": r"^\circ ", "…": r"\ldots ",
}  # fmt: skip
_TEXT = (
    r"\\(?:text(?:bf|it|rm|normal|tt|sf|up|sc)?|emph|math(?:rm|bf|it|sf|tt|normal)|[mh]box|operatorname)(?![a-zA-Z])\s*"
)
_SAID = re.compile(r"^(\\text\s*\{)?\s*(?:final )?answer(?: is)?\s*[:=]\s*(\})?", re.IGNORECASE)
_DEGREES = re.compile(
    r"(?:\{\s*\})?\^\s*(?:\\circ|\{\s*\\circ\s*\}|\{?\s*\\text\s*\{\s*o\s*\}\s*\}?)|\\degree(?![a-zA-Z])"
)
_REPLACED: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\\+\s*$|\\phantom\s*\{[^{}]*\}"), ""),
    (re.compile(r"(?<!\\)\\[()\[\]]|\\(?:displaystyle|textstyle|left|right|[bB]ig{1,2}[lr]?|!)(?![a-zA-Z])"), ""),
    (re.compile(r"\\\$|(?<!\\)\$|[€£¥₹]"), ""),
    (re.compile(r"(?<!\\)\\[,;: >]|~|\\q?quad(?![a-zA-Z])|\\(?:hspace|hskip|vspace)\*?\{[^{}]*\}|&nbsp;"), " "),
    (re.compile(r"\{\s*,\s*\}"), ","),
    (re.compile(_TEXT), r"\\text"),
    (_SAID, lambda match: _opened(*match.groups())),
    (re.compile(r"\{\s*\\(?:rm|bf|it)(?![a-zA-Z])\s*"), r"\\text{"),
    (re.compile(r"\\text\s*\{\s*(-?\d[\d.,]*)\s*\}"), r"\1"),
    (re.compile(r"\\text\s*\{\s*(-?\d[\d.,]*)\s*([^{}]*)\}"), r"\1\\text{\2}"),
    (re.compile(r"\\text\s*\{\s*([ie])\s*\}"), r"\1"),
    (re.compile(r"\{?\s*(\w+)\s*\\choose\s*(\w+)\s*\}?"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?<![\d.])(\d+\.)\((\d+)\)$"), r"\1\\overline{\2}"),
    (re.compile(r"\\(?:text)?color\s*\{[^{}]*\}|\\(?:boldsymbol|bm|bf|rm|it|underline|uline)(?![a-zA-Z])"), ""),
    (re.compile(r"\\(?:tiny|small|normalsize|[lL]arge|LARGE|[hH]uge)(?![a-zA-Z])"), ""),
    (re.compile(r"(?<=[\w)}])\s*\*\*\s*(?=[\w({-])"), "^"),
    (re.compile(r"^\s*(?:\\(?:approx|sim|simeq)(?![a-zA-Z])|≈)"), ""),
    (re.compile(r"^\s*\\?\{\s*[a-zA-Z]\s*(?:\\mid(?![a-zA-Z])|\||:)(.*?)\\?\}\s*$", re.DOTALL), r"\1"),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\leq(?:slant)?(?![a-zA-Z])"), r"\\le "),
    (re.compile(r"\\geq(?:slant)?(?![a-zA-Z])"), r"\\ge "),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\ne(?![a-zA-Z])"), r"\\neq "),
    (re.compile(r"\\(?:varnothing|empty)(?![a-zA-Z])|^\s*\\\{\s*\\\}\s*$"), r"\\emptyset "),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\langle(?![a-zA-Z])"), "("),
    (re.compile(r"\\rangle(?![a-zA-Z])"), ")"),
    (re.compile(r"\\lbrack(?![a-zA-Z])"), "["),
    (re.compile(r"\\rbrack(?![a-zA-Z])"), "]"),
    (re.compile(r"\\lvert(?![a-zA-Z])|\\rvert(?![a-zA-Z])|\\vert(?![a-zA-Z])|\\mid(?![a-zA-Z])"), "|"),
    (re.compile(r"\\(?:cdotp|ast)(?![a-zA-Z])"), r"\\cdot "),
    (_DEGREES, r"\\text{degrees}"),
    (re.compile(r"\\%|\s*\b(?:percent(?:age)?|per cent|pct)\b|\s*\\text\{\s*(?:percent|\\?%)\s*\}"), "%"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"(\\frac\s*\{[^{}]*\})\s*(\d)"), r"\1{\2}"),
    (re.compile(r"\\sqrt\s*(\d)"), r"\\sqrt{\1}"),
    (re.compile(r"√\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?:√|(?<![\\a-zA-Z])sqrt)\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+|[a-z]))"), r"\\sqrt{\1\2\3}"),
    (re.compile(r"(?<![\\a-zA-Z])(pi|infty|infinity)\b"), lambda match: r"\pi " if match[1] == "pi" else r"\infty "),
    (re.compile(r"(?<=\d)\s*(?:\\text\{\s*)?\(?(?:in\s+)?base[\s-]*(\d+|[a-z]+)\)?\s*\}?"), r"_{\1}"),
    (re.compile(r"(?<=[\dA-Fa-f])\s*_\s*\{?\s*\((\d+|[a-z]+)\)\s*\}?"), r"_{\1}"),
    (re.compile(r"(?:\\text\s*\{|\()\s*([\dA-Fa-f]+)\s*[)}]\s*(?=_)"), r"\1"),
    (re.compile(r"_(\w)"), r"_{\1}"),
    (re.compile(r"_\{\s*\\text\{\s*(\w+)\s*\}\s*\}|_\{\s*(\w+)\s*\}"), r"_{\1\2}"),
]  # fmt: skip
_BASES = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_OPENING, _CLOSING = "([{", ")]}"
_CHOICE = re.compile(r"(?:(?:choice|option)\s+)?(?:\\text)?\{?\s*\(([A-Ja-j])\)\s*\}?[\s.:]*(.*)", re.DOTALL)
_LETTER = re.compile(
    r"(?:(?:choice|option)\s+)?(?:\\text)?\{?\s*([A-J])\s*(?:[.):]\s*)?\}?|([A-J])[.):]\s+(.*)", re.DOTALL
)
_SEPARATOR = re.compile(r"\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![a-zA-Z\\])(?:,\s*)?(?:and|or)(?![a-zA-Z])")


class Group(NamedTuple):
    """Parts in brackets: ``(`` and ``[`` keep their order, ``{`` does not."""

    opening: str
    closing: str
    parts: list[str]


def tidy(text: str) -> str:
    """The answer in one way of writing, without what only decides how it looks."""
    text = plain(text).strip().strip("*`").strip()
    for sign, command in _SIGNS.items():
        text = text.replace(sign, command)
    for pattern, instead in _REPLACED:
        text = pattern.sub(instead, text)
    text = re.sub(r"_\{([a-z]+)\}", lambda match: _base(match[1]), text)
    text = _without_spare_brackets(" ".join(text.split()))
    return text.strip().rstrip(".,;:").strip()


def words(text: str) -> str:
    r"""The words of an answer that is text: ``\text{}`` opened, spaces and case made one, a full stop left out."""
    opened = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text)
    plainly = " ".join(re.sub(r"[{}\"'*_]|\\(?=[a-z ])", " ", opened).split()).strip(" .!").casefold()
    return re.sub(r"\(([a-z])\)", r"\1", re.sub(r"^(?:an?|the) (?!and |or )(?=[a-z]{2})", "", plainly))


def is_text(text: str) -> bool:
    r"""Whether an answer is words and not mathematics: in ``\text{}``, or letters that are no product of variables."""
    if re.fullmatch(r"\s*\\text\s*\{[^{}]*[A-Za-z]{2}[^{}]*\}\s*", text):
        return True
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z' .,-]*", text)) and bool(re.search(r"[A-Z]?[a-z]{3}|[A-Z]{4}", text))


def choice(text: str) -> tuple[str, str] | None:
    """The letter of a choice and what follows it, as in ``(B) 42``; None where there is no such letter."""
    match = _CHOICE.fullmatch(text.strip())
    if match is not None:
        return match[1].upper(), match[2].strip()
    letter = _LETTER.fullmatch(text.strip())
    return None if letter is None else (letter[1] or letter[2], (letter[3] or "").strip())


def listed(text: str) -> list[str]:
    """The parts of a list without brackets: ``1, 2 and 3``, ``6 or 7``; one part for anything else."""
    parts = split(_SEPARATOR.sub(",", text), ",")
    if len(parts) == 1:
        parts = split(text, ";")
    return parts if all(parts) else [part for part in parts if part] or [text]


def grouped(text: str) -> Group | None:
    r"""What stands in one pair of brackets that holds the whole text; braces are those of a set, ``\{1,2\}``."""
    braces = re.sub(r"\\([{}])", r"\1", text.strip())
    if len(braces) < 2 or braces[0] not in _OPENING or braces[-1] not in _CLOSING:
        return None
    depth = 0
    for place, each in enumerate(braces):
        depth += (each in _OPENING) - (each in _CLOSING)
        if depth == 0 and place < len(braces) - 1:
            return None
    parts = listed(braces[1:-1]) if braces[0] == "{" else split(braces[1:-1], ",")
    if len(parts) == 1:
        parts = split(braces[1:-1], ";")
    return Group(braces[0], braces[-1], parts)


def rows(text: str) -> list[list[str]] | None:
    """The cells of a matrix; None for anything else."""
    match = re.fullmatch(r"[(\[]?\s*\\begin\{([pbBv]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}\s*[)\]]?", text)
    if match is None:
        return None
    lines = [line for line in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr\b", match[2]) if line.strip()]
    kind = [["determinant"]] if match[1] == "vmatrix" else []
    return kind + [[cell.strip() for cell in line.split("&")] for line in lines]


def split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(rf"[()\[\]{{}}]|{re.escape(separator)}", text):
        if match[0] == separator:
            if depth <= 0:
                parts.append(text[start : match.start()].strip())
                start = match.end()
        else:
            depth += 1 if match[0] in _OPENING else -1
    return [*parts, text[start:].strip()]


def _opened(group: str | None, closing: str | None) -> str:
    """Return what stays of a group that begins with "Answer:", or of one that holds nothing else."""
    return group if group and not closing else ""


def _base(word: str) -> str:
    return f"_{{{_BASES.index(word) + 2}}}" if word in _BASES else f"_{{{word}}}"


def _without_spare_brackets(text: str) -> str:
    """The text with ``((x))`` as ``(x)``, and without braces around all of it."""
    opened: list[int] = []
    pairs: dict[int, int] = {}
    for place, each in enumerate(text):
        if each == "(":
            opened.append(place)
        elif each == ")" and opened:
            pairs[opened.pop()] = place
    spare = {place for start, end in pairs.items() if pairs.get(start + 1) == end - 1 for place in (start, end)}
    text = "".join(each for place, each in enumerate(text) if place not in spare)
    while text.startswith("{") and closings(text).get(0) == len(text) and not _is_set(text):
        text = text[1:-1].strip()
    return text


def _is_set(text: str) -> bool:
    return len(split(text[1:-1], ",")) > 1
