"""The section on interactions says what its tests say, and no more."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from subnetray.analysis.claims.interactions import DENSITY_RESPONSE, OVERLAP_RESPONSE, Model
from subnetray.analysis.factorial import Effect, Fit
from subnetray.analysis.intervals import Estimate
from subnetray.grid.fraction import Term
from subnetray.reporting.document import Bullets, Figure, Heading, Paragraph, Table
from subnetray.reporting.interactions import section
from subnetray.reporting.writers.latex import to_latex
from subnetray.reporting.writers.markdown import to_markdown


def effect(*terms: Term, p: float, low: float = 0.1) -> Effect:
    return Effect(terms, 2, 9.876, p / 3, p, Estimate(0.3, low, 0.5, 58))


FOUND = Fit(
    effects=(
        effect(("way",), p=0.0001),
        effect(("way", "rate"), p=0.0004),
        effect(("way", "bits"), ("rate", "clip"), p=0.012),
        effect(("rate", "bits"), p=0.2, low=0.0),
        effect(("way", "rate", "bits"), ("way", "rate", "clip"), p=1.0, low=0.0),
    ),
    error_df=55,
    runs=72,
    blocks=6,
    init_sd=0.3,
    seed_sd=0.1,
    run_sd=0.05,
)
MODELS = [
    Model(("way", "rate", "bits"), DENSITY_RESPONSE, FOUND),
    Model(("way", "rate", "bits"), OVERLAP_RESPONSE, None, "3 of 12 cells have no value"),
]


def made(name: str, draw: Callable[[Path], None], caption: str) -> Figure:
    return Figure(f"{name}.png", caption)


def test_sentences_say_what_was_tested() -> None:
    (bullets,) = (block for block in section(MODELS, made) if isinstance(block, Bullets))
    assert bullets.items == (
        "**way × rate, on log odds of density**: the effect of one factor differs between levels of the other"
        " (F(2, 55) = 9.9, Holm's p < 0.001; partial η² 0.30 [0.10, 0.50]).",
        "**way × bits or rate × clip, on log odds of density**, which the design cannot tell apart: the effect of one"
        " factor differs between levels of the other (F(2, 55) = 9.9, Holm's p = 0.012; partial η² 0.30 [0.10, 0.50]).",
        "rate × bits, on log odds of density: no interaction was seen (F(2, 55) = 9.9, Holm's p = 0.200), and one with"
        " a partial η² of up to 0.50 is not ruled out.",
        "Standard deviations of log odds of density in way × rate × bits: between inits 0.30, between seeds 0.10,"
        " between runs of a block 0.05.",
    )


def test_the_table_has_every_effect_and_what_was_not_analysed_is_said() -> None:
    blocks = section(MODELS, made)
    assert isinstance(blocks[0], Heading)
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert [row[2] for row in table.rows] == [
        *("way", "way × rate", "way × bits or rate × clip", "rate × bits", "three and more factors"),
    ]
    assert table.rows[1][3:] == ("9.9", "2, 55", "< 0.001", "< 0.001", "0.300", "[0.10, 0.50]")
    assert blocks[-1] == Paragraph("Not analysed: overlap of seeds of way × rate × bits: 3 of 12 cells have no value.")
    assert "way $\\times$ rate" in to_latex(table, "interactions")
    assert "| way × rate |" in to_markdown(blocks)


def test_ends_that_are_not_known_are_left_out() -> None:
    unknown = Effect((("way", "rate"),), 1, 1e9, 0.0, 0.0, Estimate(1.0, math.nan, math.nan, 58))
    fit = Fit((unknown,), 55, 72, 6, math.nan, 0.1, 0.05)
    (table,) = (b for b in section([Model(("way", "rate"), DENSITY_RESPONSE, fit)], made) if isinstance(b, Table))
    assert table.rows[0][-1] == "–"


def test_no_crossing_no_section() -> None:
    assert section([], made) == []
