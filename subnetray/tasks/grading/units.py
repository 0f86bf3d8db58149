r"""Units behind a value: they are not compared, unless both sides name one and the two are not the same."""

from __future__ import annotations

import re

from subnetray.tasks.grading import numbers

_NAMES = """
mm millimeter millimetre|cm centimeter centimetre|m meter metre|km kilometer kilometre|in inch|ft foot feet|yd yard
mi mile|mg milligram|g gram|kg kilogram kilo|oz ounce|lb pound|ton tonne|ml milliliter millilitre|l liter litre
gal gallon|s sec second|min minute|h hr hour|day|week|month|yr year|degree deg|rad radian|dollar buck usd|cent penny
euro eur|am a.m|pm p.m|mph|km/h kmh kph kmph|m/s|unit|percent point|people person|square|cube
"""
_CANONICAL = {
    name: names.split()[0]
    for line in _NAMES.split("\n")
    for names in line.split("|")
    if names
    for name in names.split()
}
_CURRENCIES = {
    "cent": re.compile(r"¢|(?<![a-z])cents?(?![a-z])"),
    "dollar": re.compile(r"\\\$|(?<![a-z])dollars?(?![a-z])"),
    "euro": re.compile(r"€|(?<![a-z])euros?(?![a-z])"),
    "pound": re.compile(r"£"),
}
_SCALED = ("square", "cubic", "sq", "cu", "per", "of", "linear", "nautical")
_POWER = r"(?:\^\s*(?:\{\s*-?\d\s*\}|\d))?"
_MARKED = re.compile(
    rf"(?P<value>.*[\dA-Za-z}})\]!|%])\s*(?P<unit>(?:\\text\s*\{{[^{{}}]*\}}{_POWER}\s*(?:/|\\cdot|\\times)?\s*"
    rf"|\\frac\s*\{{\s*\\text\s*\{{[^{{}}]*\}}{_POWER}\s*\}}\s*\{{\s*\\text\s*\{{[^{{}}]*\}}{_POWER}\s*\}}\s*)+)",
    re.DOTALL,
)
_BARE = re.compile(rf"(?P<value>.*[\d}})])\s*(?P<unit>(?<![A-Za-z\\])[A-Za-z][A-Za-z./ -]*){_POWER}", re.DOTALL)
_BEFORE = re.compile(r"\\text\s*\{[^{}]*\}\s*(?P<value>.*\d.*)", re.DOTALL)


def split(text: str) -> tuple[str, str | None]:
    r"""The value and the unit's common name of ``35\text{ cm}^2``, ``35 cm`` or ``12 apples``; None for no unit."""
    match = _MARKED.fullmatch(text)
    if match is not None:
        words = " ".join(re.findall(r"\{([^{}\\]*[A-Za-z°][^{}]*)\}", match["unit"]))
        value, inner = split(match["value"].strip())
        return value, inner or _name(words)
    match = _BARE.fullmatch(text)
    if match is not None:
        value, unit = match["value"].strip(), match["unit"]
        known = all(
            word.rstrip(".") in _CANONICAL or _singular(word) in _CANONICAL or word in _SCALED for word in unit.split()
        )
        counted = len(unit) > 2 and numbers.whole(value) is not None
        # A letter that touches the number is a variable; in "35 m" it is a unit.
        if (known and (len(unit) > 1 or text[: match.start("unit")].endswith(" "))) or counted:
            return value, _name(unit)
    match = _BEFORE.fullmatch(text)
    if match is not None and numbers.whole(match["value"]) is not None:
        return match["value"], None
    return text, None


def currency(text: str) -> str | None:
    """The currency whose sign or name an answer has."""
    return next((name for name, sign in _CURRENCIES.items() if sign.search(text)), None)


def differ(one: str | None, other: str | None) -> bool:
    """Return whether two units are known, and known to be different ones."""
    return one is not None and other is not None and one != other


def _name(words: str) -> str | None:
    """The common name of a unit that is known, without its power."""
    each = [word for word in re.sub(r"[(),]", " ", words.lower()).split() if word not in _SCALED]
    if len(each) != 1:
        return None
    word = each[0].rstrip(".")
    return _CANONICAL.get(word) or _CANONICAL.get(_singular(word))


def _singular(word: str) -> str:
    word = word.lower()
    return {"inches": "inch", "feet": "foot", "pennies": "penny"}.get(word, word.removesuffix("s"))
