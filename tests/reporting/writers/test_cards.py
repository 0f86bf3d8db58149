"""Cards of claims: what they draw is where the numbers say, on one scale."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from subnetray.reporting.document import Card, Cards
from subnetray.reporting.writers.html import to_html
from tests.reporting.writers.test_html import read

CARD = Card(
    *("one", "A < B.", "supported", (-2.0, 3.0, 8.0), (1.0, math.inf), "points", 0.95),
    *("a `note`", ("Tested: <i>",), ("r1", "r2")),
)
NUMBERS = st.floats(-500, 500)


def drawn(card: Card) -> dict[str, list[float]]:
    """The x of limits, interval and mean, and of both ends of the axis and of the shade."""
    text = to_html([Cards((card,))], "T", lambda path: b"")
    found = {
        name: [float(x) for each in re.findall(rf'<\w+ class="{name}"([^>]*)>', text) for x in _places(each)]
        for name in ("limit", "interval", "mean", "holds", "axis")
    }
    x, width = found["holds"]
    return found | {"holds": [x, x + width]}


def _places(attributes: str) -> list[str]:
    return re.findall(r'\b(?:x[12]?|cx|width)="([^"]*)"', attributes)


@given(st.lists(NUMBERS, min_size=3, max_size=3), st.lists(NUMBERS, min_size=2, max_size=2, unique=True))
def test_what_is_left_of_another_is_drawn_left_of_it(values: list[float], limits: list[float]) -> None:
    low, mean, high = sorted(values)
    below, above = sorted(limits)
    found = drawn(replace(CARD, estimate=(low, mean, high), holds=(below, above)))
    places = [*found["limit"][::2], found["interval"][0], *found["mean"], found["interval"][1]]
    pairs = sorted(zip([below, above, low, mean, high], places, strict=True))
    assert all(one[1] <= other[1] for one, other in itertools.pairwise(pairs))
    assert found["holds"][0] == found["limit"][0]
    assert abs(found["holds"][1] - found["limit"][-1]) < 0.11
    assert min(found["axis"]) - 0.1 <= min(places) <= max(places) <= max(found["axis"]) + 0.1


def test_a_side_without_limit_is_shaded_to_the_end_of_the_axis() -> None:
    found = drawn(CARD)
    assert len(found["limit"]) == 2
    assert abs(found["holds"][1] - max(found["axis"])) < 0.11


def test_without_an_interval_there_is_a_dot_alone() -> None:
    found = drawn(replace(CARD, estimate=(math.nan, 3.0, math.nan)))
    assert found["interval"] == []
    assert len(found["mean"]) == 1


def test_cards_of_one_page_have_one_scale() -> None:
    text = to_html([Cards((CARD, replace(CARD, key="two", estimate=(90.0, 900.0, 950.0))))], "T", lambda path: b"")
    one, two = re.findall(r"<svg.*?</svg>", text)
    assert re.findall(r"<text.*?</text>", one) == re.findall(r"<text.*?</text>", two)
    assert ">1000<" in one


def test_a_card_says_in_words_what_it_draws() -> None:
    page = read([Cards((CARD,))])
    assert "A < B." in page.text
    assert "+3.00 points (95 %: −2.00 to +8.00); the claim holds above 1" in page.text
    assert "Tested: <i>" in page.text
    assert "claim-one" in page.ids
    for holds, words in (((-5.0, 5.0), "from -5 to 5"), ((-math.inf, 5.0), "below 5"), ((-math.inf, math.inf), "no")):
        assert words in " ".join(read([Cards((replace(CARD, holds=holds),))]).text)
