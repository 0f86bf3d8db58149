"""What the runs say about the claims of the literature, as sections of a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from subnetray.analysis.verdicts import ALPHA, Claim
from subnetray.config import Grid
from subnetray.reporting import format as fmt
from subnetray.reporting.document import Block, Bullets, Card, Cards, Folded, Heading, Paragraph, Table, table

_UNTESTED = "not tested"


def section(grid: Grid, verdicts: Sequence[Claim]) -> list[Block]:
    """All claims: those that were tested as cards and as a table, the others in one sentence each."""
    tested = [each for each in verdicts if each.verdict != _UNTESTED]
    untested = [each for each in verdicts if each.verdict == _UNTESTED]
    blocks: list[Block] = [Heading(2, "Claims"), Paragraph(_counts(verdicts))] if verdicts else []
    if tested:
        blocks += [Cards(tuple(map(_card, tested))), claims_table(tested)]
    if untested:
        items = tuple(
            f"{each.statement} ({each.note[:1].upper()}{each.note[1:]}."
            + ("" if each.grid == grid.name else f" Run `+grid={each.grid}` to test it.")
            + ")"
            for each in untested
        )
        blocks.append(Folded("Not tested by these runs:", (Bullets(items),)))
    return blocks


def short(grid: Grid, verdicts: Sequence[Claim]) -> list[Block]:
    """The verdicts on claims that were tested, in as few columns as say them, and which grids test the others."""
    if not verdicts:
        return []
    rows = [
        (each.statement, f"**{each.verdict}**", f"{fmt.signed(each.estimate.mean, 2)} {each.unit}", _ends(each))
        for each in verdicts
        if each.verdict != _UNTESTED
    ]
    blocks: list[Block] = [Heading(2, "Claims"), Paragraph(_counts(verdicts))]
    if rows:
        blocks.append(table((("claim", "l"), ("verdict", "l"), ("estimate", "r"), ("interval", "l")), rows))
    others = sorted({each.grid for each in verdicts if each.verdict == _UNTESTED and each.grid != grid.name})
    if others:
        names = fmt.listing(f"`+grid={name}`" for name in others)
        blocks.append(Paragraph(f"Claims that these runs do not test are tested by {names}."))
    return blocks


def _ends(claim: Claim) -> str:
    return fmt.interval(claim.estimate, claim.level)


def claims_table(tested: Sequence[Claim]) -> Table:
    """The verdicts on claims that were tested."""
    header = (
        *(("claim", "l"), ("verdict", "l"), ("estimate", "r"), ("interval", "l"), ("unit", "l")),
        *(("seeds", "r"), ("detectable", "r"), ("of all claims", "l"), ("note", "l")),
    )
    rows = [
        (
            each.statement,
            f"**{each.verdict}**",
            fmt.signed(each.estimate.mean, 2),
            fmt.interval(each.estimate, each.level),
            each.unit,
            str(each.estimate.n),
            _detectable(each),
            _of_all(each),
            each.note or fmt.NONE,
        )
        for each in tested
    ]
    caption = (
        "By these runs, for their init, task and levels. Detectable: how far from what is tested the truth would"
        " have to be to be told from it by four of five sweeps with these seeds and this spread. Of all claims:"
        f" what is left of the verdict at {100 * ALPHA:.0f} % for all claims of the table together (Holm). Tests,"
        " margins, p and runs are in `claims.json`."
    )
    return table(header, rows, caption, [each.runs for each in tested])


def _counts(verdicts: Sequence[Claim]) -> str:
    counts = Counter(each.verdict for each in verdicts)
    return f"Of {len(verdicts)} claims: {fmt.listing(f'**{n} {verdict}**' for verdict, n in counts.items())}."


def _card(claim: Claim) -> Card:
    estimate = claim.estimate
    facts = (
        f"Tested: {claim.test}",
        f"Claimed by: {claim.source}.",
        f"Seeds: {estimate.n}; detectable: {_detectable(claim)} {claim.unit}; of all claims: {_of_all(claim)}.",
    )
    return Card(
        claim.key,
        claim.statement,
        claim.verdict,
        (estimate.low, estimate.mean, estimate.high),
        claim.holds,
        claim.unit,
        claim.level,
        claim.note,
        facts,
        claim.runs,
    )


def _detectable(claim: Claim) -> str:
    return fmt.NONE if math.isnan(claim.estimate.detectable) else f"{claim.estimate.detectable:.2f}"


def _of_all(claim: Claim) -> str:
    """Say what Holm's correction leaves of a verdict that was decided."""
    if claim.verdict == "inconclusive":
        return fmt.NONE
    return "holds" if claim.verdict_holm == claim.verdict else claim.verdict_holm
