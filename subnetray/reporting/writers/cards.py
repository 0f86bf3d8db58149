"""Claims as cards: a verdict, and its estimate drawn beside what the claim says, on one scale for all cards."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from subnetray.reporting import format as fmt
from subnetray.reporting.document import Card

_WIDTH, _MARGIN = 300.0, 14.0
_LINEAR = 1.0  # up to here the scale is about linear, and logarithmic beyond: units from 0.1 to 100 share it


def cards(listed: Sequence[Card], inline: Callable[[str], str]) -> str:
    """The cards as HTML; ``inline`` makes HTML of a text."""
    values = [abs(value) for each in listed for value in (*each.estimate, *each.holds) if math.isfinite(value)]
    largest = 10.0 ** math.ceil(math.log10(max([10.0, *values])))
    body = "\n".join(_card(each, largest, inline) for each in listed)
    key = (
        "The shaded part is where the claim holds; the line is the interval, the dot the estimate. All cards have one"
        " scale, in units of their own, logarithmic beyond ±1."
    )
    return f'<div class="cards">\n{body}\n</div>\n<p class="key">{key}</p>'


def _card(card: Card, largest: float, inline: Callable[[str], str]) -> str:
    kind = card.verdict if card.verdict in ("supported", "refuted") else "open"
    facts = "".join(f"<p>{inline(fact)}</p>" for fact in card.facts)
    low, mean, high = card.estimate
    ends = "" if math.isnan(low) else f" ({100 * card.level:.0f} %: {fmt.signed(low, 2)} to {fmt.signed(high, 2)})"
    said = f"{fmt.signed(mean, 2)} {card.unit}{ends}"
    note = f'<p class="note">{inline(card.note)}</p>' if card.note else ""
    return (
        f'<article class="card {kind}" id="claim-{html.escape(card.key)}">\n<h3>{inline(card.statement)}</h3>\n'
        f"<p><strong>{html.escape(card.verdict)}</strong>: {html.escape(said)}</p>\n"
        f"{_drawn(card, largest, f'{said}; {_in_words(card.holds)}')}\n{note}\n"
        f"<details><summary>How it was tested</summary>{facts}{runs(card.runs, 'the claim')}</details>\n</article>"
    )


def runs(ids: Sequence[str], of: str) -> str:
    """A place where the page lists runs, with a link to each; empty if there are none."""
    known = html.escape(" ".join(ids))
    return f'<div class="runs" data-runs="{known}" data-of="{html.escape(of)}"></div>' if ids else ""


def _in_words(holds: tuple[float, float]) -> str:
    low, high = holds
    if math.isinf(low) and math.isinf(high):
        return "no limits"
    if math.isinf(high):
        return f"the claim holds above {low:g}"
    return f"the claim holds below {high:g}" if math.isinf(low) else f"the claim holds from {low:g} to {high:g}"


def _drawn(card: Card, largest: float, words: str) -> str:
    def x(value: float) -> float:
        place = math.asinh(2 * max(-largest, min(largest, value)) / _LINEAR) / math.asinh(2 * largest / _LINEAR)
        return round(_WIDTH / 2 + place * (_WIDTH / 2 - _MARGIN), 1)

    low, mean, high = card.estimate
    left, right = (x(limit) for limit in card.holds)
    parts = [f'<rect class="holds" x="{left}" y="4" width="{round(right - left, 1)}" height="26"/>']
    parts += [
        f'<line class="limit" x1="{x(limit)}" x2="{x(limit)}" y1="4" y2="30"/>'
        for limit in card.holds
        if math.isfinite(limit)
    ]
    parts.append(f'<line class="axis" x1="{x(-largest)}" x2="{x(largest)}" y1="30" y2="30"/>')
    decades = [10.0**power for power in range(round(math.log10(largest)) + 1)]
    for value in (*(-decade for decade in reversed(decades)), 0.0, *decades):
        parts.append(f'<line class="axis" x1="{x(value)}" x2="{x(value)}" y1="{2 if value == 0 else 27}" y2="33"/>')
        parts.append(f'<text x="{x(value)}" y="42">{fmt.plain(value, 0)}</text>')
    if not math.isnan(low):
        parts.append(f'<line class="interval" x1="{x(low)}" x2="{x(high)}" y1="17" y2="17"/>')
    parts.append(f'<circle class="mean" cx="{x(mean)}" cy="17" r="3.5"/>')
    title = f"<title>{html.escape(words)}</title>"
    return f'<svg role="img" viewBox="0 0 {_WIDTH:.0f} 46">{title}{"".join(parts)}</svg>'
