r"""Numbers as people and models write them: ``\$9{,}500``, ``1 1/2``, ``50\%``, ``1.5 \times 10^3``, ``twenty-one``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from subnetray.tasks.grading import answer
from subnetray.tasks.grading.characters import plain

_DIGITS = 1000  # of a number: longer ones are none, so that no text costs time
_POWER = 400  # of ten, or of another number

_WRITTEN = [
    (re.compile(r"\\(?:left|right|displaystyle|bigl?|bigr?|!)(?![a-zA-Z])"), ""),
    (re.compile(r"\{\s*([,'])\s*\}"), r"\1"),  # 9{,}500
    (re.compile(r"\\[,;: ]|~|\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])|[×·⋅]"), "*"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])|°"), " degrees "),
    (re.compile(r"\\pi(?![a-zA-Z])"), "π"),
    (re.compile(r"(?<=\d)\s*(?=\\[dtc]?frac)"), " "),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*\{\s*(\d+)\s*\}"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac\s*\{\s*(-?[\d.,]+)\s*\}\s*(?:\{\s*(\d[\d.,]*)\s*\}|(\d))"), r"\1/\2\3"),
    (re.compile(r"(?<!\w)_{1,2}(?=[\w$-])|(?<=[\d.%])_{1,2}(?!\w)"), " "),  # emphasis
    # No numbers of their own: what stands under a root, a unit's power, an index.
    (re.compile(r"(?:\\sqrt\s*(?:\[\d*\])?\s*\{?|√\s*\(?)\s*\d[\d.,]*"), " √ "),
    (re.compile(r"(?<=[A-Za-z)}\]°])\s*\^\s*(?:\{[^{}]{0,40}\}|-?\w)"), ""),
    (re.compile(r"(?<=\w)_(?:\{[^{}]{0,40}\}|\d(?!\d{2}(?:\D|$)))"), ""),
    (re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox|textit|mathit|operatorname|rm|bf)(?![a-zA-Z])\s*"), " "),
    (re.compile(r"(?<!\d)\*\*|\*\*(?!\d)"), " "),  # bold
    (re.compile(r"\bEUR\b"), "€"),
    (re.compile(r"\b(?:USD|US|GBP|INR|CAD|AUD|Rs\.?)\s*(?=[\d$€£₹])"), "$"),
]
_CURRENCY = "$€£¥₹"
_SCALES = {"hundred": 2, "thousand": 3, "lakh": 5, "million": 6, "crore": 7, "billion": 9, "trillion": 12}
_KILOS = {"k": 3, "K": 3, "M": 6, "mn": 6, "B": 9, "bn": 9}
_COUNT = r"""
    \d{1,3}(?:,\d{3})++(?!\d)
  | \d{1,2}(?:,\d{2}(?=,))++,\d{3}(?!\d)
  | \d{1,3}(?:[ ]\d{3})++(?!\d)
  | \d{1,3}(?:'\d{3})++(?!\d)
  | \d{1,3}(?:_\d{3})++(?!\d)
  | \d{1,3}(?:\.\d{3}){2,}+(?![\d.])
  | \d++
"""
_EUROPEAN = r"""
    \d{1,3}(?:(?:\.\d{3})++|(?:[ ]\d{3})++),\d{1,2}(?![\d,])
  | \d++,\d\d(?=[ ]?€)
  | (?:(?<=€)|(?<=€[ ]))\d++,\d\d(?![\d,])
"""
_NUMBER = re.compile(
    rf"""
    (?<![\w^.])(?<!\^\{{)(?<!\^\{{-)(?<!\^-)
    (?:
        (?P<european>{_EUROPEAN})
      | (?P<ratio>\d++(?::\d++)++|\d++(?:/\d++){{2,}}+|\d{{4}}-\d\d-\d\d(?!\d))
      | (?P<whole>\d++)[ ]+(?:and[ ]+)?(?P<part>\d++[ ]?/[ ]?\d++)(?![\d/])
      | (?P<over>(?:{_COUNT})(?:\.\d++)?[ ]?/[ ]?\d++(?:\.\d++)?)(?!/?\d)(?!\s*[√π])
      | (?P<count>{_COUNT})(?P<decimals>\.\d++)?
      | (?P<point>\.\d++)
    )
    (?:[eE](?P<exponent>[+-]?\d{{1,20}})(?!\w))?+
    (?:\s*(?:\*|x|X)\s*10\s*(?:\^|\*\*)\s*\{{?\s*(?P<ten>[+-]?\d{{1,6}})\s*\}}?)?+
    (?:(?:\^|\*\*)\s*\{{?\s*(?P<power>-?\d{{1,6}})\s*\}}?)?+
    (?!\s*[√π])
    (?:(?P<kilo>[kKMB]|mn|bn)(?![\w-])|\s*(?P<scale>{"|".join(_SCALES)})s?\b)?+
    (?P<percent>\s*(?:%|(?:percent(?:age)?|per\ cent|pct)\b))?
    """,
    re.VERBOSE,
)
_SIGN = re.compile(rf"(?P<sign>-|\b(?:negative|minus))(?P<gap>\s*)[{_CURRENCY}({{]?\s*$")
_MARK = re.compile(r"####[ \t]*")
# What may stand between such a mark, or "the answer is", and the number.
_LEAD = re.compile(
    rf"(?:[\s*_({{\[\\{_CURRENCY}:=~≈+-]|(?:the|final|answer|is|only|just|about|negative|minus|approximately)\b)*"
)
_GOES_ON = re.compile(r"\s*\)?\s*(?:[-+*/×÷=^]|\bx\b|minus|plus|times)\s*[$(]?\s*[\d(]")
_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"""
_SMALL = {word: place if place < 20 else 10 * (place - 18) for place, word in enumerate(_WORDS.split())}

_SHARES = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4}
_SHARES |= {"fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10}


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or the terms of a ratio, a time of day or a date; ``percent`` where a percent sign follows."""

    value: Fraction | tuple[int, ...]
    percent: bool = False
    start: int = 0
    end: int = 0


def same(one: Number, other: Number) -> bool:
    """Return whether two numbers are one; of 50 % and a number without the sign, 50 and 0.5 are both meant."""
    if one.value == other.value:
        return True
    if one.percent == other.percent or isinstance(one.value, tuple) or isinstance(other.value, tuple):
        return False
    return one.value == other.value * 100 if one.percent else one.value * 100 == other.value


def final(text: str) -> Number | None:
    """The number that a text ends in: after the last ``####``, in the last box, after "the answer is", or the last.

    None for a text without one, and for one that was cut off in a box or after ``####``.
    """
    text = plain(answer.spoken(text))
    for mark in reversed(list(_MARK.finditer(text))):
        line = text[mark.end() :].partition("\n")[0]
        if (number := _leading(line)) is not None:
            return number
        if not text[mark.end() :].strip():
            return None
    boxes = answer.boxed(text)
    if boxes.any:
        return None if boxes.answer is None else _last(re.sub(r"^\s*-\s+", "-", boxes.answer))
    sentence = answer.said(text)
    found = None if sentence is None else _leading(sentence)
    return found or _last(text)


def numbers(text: str) -> list[Number]:
    """All numbers of a text, in order."""
    text = written(text)
    return [number for match in _NUMBER.finditer(text) if (number := _number(match)) is not None]


def whole(text: str) -> Number | None:
    """The number that a text is, with nothing else in it but its sign and currency; None for any other text."""
    text = re.sub(r"^-\s+", "-", written(text).strip().strip(_CURRENCY).strip())
    found = [number for match in _NUMBER.finditer(text) if (number := _number(match)) is not None]
    if (
        len(found) != 1
        or text[found[0].end :].strip()
        or not re.fullmatch(rf"-?[{_CURRENCY}+\s]*", text[: found[0].start])
    ):
        return words(text)
    return found[0]


def words(text: str) -> Number | None:
    """The number that words are, as in "forty-two" or "two hundred and five"; None for other words."""
    each = re.sub(r"[-\s,]+", " ", text.lower()).strip(" .").split()
    negative = bool(each) and each[0] in ("minus", "negative")
    total = current = 0
    if len(each) > negative + 1 and each[negative] == "a":
        each[negative] = "one"
    if len(each) > negative and each[-1] in _SHARES:
        above = Number(Fraction(1)) if each[:-1] == ["minus"][:negative] else words(" ".join(each[:-1]))
        # As in "two thirds"; "twenty third" is a place.
        if above is None or isinstance(above.value, tuple) or (abs(above.value) == 1) == each[-1].endswith("s"):
            return None
        return Number(above.value / _SHARES[each[-1]]) if len(each) > negative + 1 or each[-1] == "half" else None
    for place, word in enumerate(each[negative:]):
        if word in _SMALL:
            current += _SMALL[word]
        elif word == "hundred":
            current = (current or 1) * 100
        elif word in _SCALES:
            total, current = total + (current or 1) * 10 ** _SCALES[word], 0
        elif word != "and" or place == 0:
            return None
    return Number(Fraction((total + current) * (-1 if negative else 1))) if len(each) > negative else None


def written(text: str) -> str:
    """The text with its numbers in the one way that is read here: no LaTeX, no typography, no bold."""
    text = plain(text)
    for pattern, instead in _WRITTEN:
        text = pattern.sub(instead, text)
    return text


def _last(text: str) -> Number | None:
    found = numbers(text)
    return found[-1] if found else words(re.sub(r"\\[a-zA-Z]+|[{}$*]", " ", text))


def _leading(text: str) -> Number | None:
    """The number that a text begins with, or the last of a calculation that it begins with."""
    found = numbers(text)
    text = written(text)
    if not found:
        return words(re.sub(r"\\[a-zA-Z]+|[{}$*]", " ", text))
    lead = _LEAD.match(text)
    if lead is None or lead.end() < found[0].start:
        # As in "x = 5": what is equal to the number stands before it.
        return found[-1] if re.match(r"[\w\s\\({$]{1,12}=", text) else None
    return found[-1] if _GOES_ON.match(text, found[0].end) else found[0]


def _number(match: re.Match[str]) -> Number | None:
    """The number at a place of a text; None for what is too long or divides by zero."""
    if match.end() - match.start() > _DIGITS:
        return None
    value = _value(match)
    if value is None:
        return None
    if isinstance(value, tuple):
        return Number(value, start=match.start(), end=match.end())
    sign = -1 if _is_negative(match.string, match.start()) else 1
    return Number(sign * value, match["percent"] is not None, match.start(), match.end())


def _value(match: re.Match[str]) -> Fraction | tuple[int, ...] | None:
    if match["ratio"]:
        return tuple(int(each) for each in re.split(r"\D", match["ratio"]))
    value: Fraction | None
    if match["european"]:
        value = _decimal(re.sub("[. ]", "", match["european"]).replace(",", "."))
    elif match["part"]:
        part = _quotient(match["part"])
        value = None if part is None else _decimal(match["whole"]) + part
    elif match["over"]:
        value = _quotient(match["over"])
    elif match["count"]:
        value = _decimal(re.sub(r"[^\d]", "", match["count"]) + (match["decimals"] or ""))
    else:
        value = _decimal("0" + match["point"])
    power = int(match["power"] or 1)
    tens = sum(int(match[name] or 0) for name in ("exponent", "ten")) + _SCALES.get(match["scale"] or "", 0)
    tens += _kilo(match)
    if value is None or abs(power) > _POWER or abs(tens) > _POWER or (value == 0 and power < 0):
        return None
    if power != 1 and len(str(value)) > 20:
        return None
    return value**power * Fraction(10) ** tens


def _kilo(match: re.Match[str]) -> int:
    """The power of ten of a letter behind a number; a B is one behind money alone, as in "$2B"."""
    letter = match["kilo"]
    money = match.string[max(0, match.start() - 2) : match.start()].strip()[-1:] in tuple(_CURRENCY)
    return 0 if letter is None or (letter == "B" and not money) else _KILOS[letter]


def _decimal(digits: str) -> Fraction:
    return Fraction(Decimal(digits))


def _quotient(text: str) -> Fraction | None:
    above, _, below = text.partition("/")
    divisor = _decimal(below.strip())
    return None if divisor == 0 else _decimal(re.sub(r"[^\d.]", "", above)) / divisor


def _is_negative(text: str, start: int) -> bool:
    """Return whether the minus before a number is its sign, and no dash, no bullet, no range and no difference."""
    before = text[max(0, start - 24) : start]
    match = _SIGN.search(before)
    if match is None:
        return False
    ahead = before[: match.start()]
    previous = ahead.rstrip()[-1:]
    if match["sign"] != "-":
        return not (match["sign"] == "minus" and (previous.isdigit() or previous in (")", "}")))
    if ahead[-1:].isalnum() or (previous and (previous.isdigit() or previous in ")}]%")):
        return False
    if not match["gap"]:
        return True
    return previous in tuple("=(:{[,<>≤≥≈|$&~") and not ahead.endswith("\n") and bool(ahead.strip())
