"""The words of a report: what each means, in one line. A page has them where they stand in its text."""

from __future__ import annotations

from subnetray.nulls import NULLS, STRONGEST
from subnetray.reporting.document import Definitions

TERMS: dict[str, str] = {
    "cell": "One combination of levels of the factors.",
    "run": "One cell with one seed, the unit of statistics.",
    "density": "The share of weights whose stored value differs bit for bit between init and final. Tied weights count"
    " once. bf16 has 8 bits of precision: changes below |w|/512 to |w|/256 do not show.",
    "sparsity": "1 − density. The paper counts |Δ| ≤ 1e-5 as unchanged; that adds up to 30 points of sparsity (its"
    " Table 6).",
    "mask": "Which weights changed: one bit a coordinate.",
    "o1": "Size of the intersection of two masks, as a share of the first.",
    "o2": "Size of the intersection of two masks, as a share of the second.",
    "Jaccard": "Size of the intersection of two masks, as a share of their union.",
    "κ": "Cohen's kappa of two masks: their agreement beyond that of independent ones of their sizes; 1 if equal.",
    "null": f"What masks share without shared structure. Claims are tested against the {NULLS[STRONGEST].title} null.",
    **{f"{null.title} null": null.reading for null in NULLS.values()},
    "excess": "Observed minus expected under a null.",
    "odds ratio": "How much more often a weight changed in one run if it did in the other; 1: one mask says nothing"
    " about the other.",
    "interval": "Of 95 % over seeds, unless it says otherwise. With three seeds Student's t is 4.3: they are wide.",
}


def definitions() -> Definitions:
    """All terms."""
    return Definitions(tuple(TERMS.items()))
