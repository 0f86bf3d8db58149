"""Training restricted to subnetworks, and finding them early, as sections of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from subnetray.analysis import roles
from subnetray.analysis.claims.conjecture import TOLERANCES, Arm
from subnetray.analysis.identification import Found, Identification
from subnetray.analysis.intervals import Estimate
from subnetray.config import Grid
from subnetray.reporting import format as fmt
from subnetray.reporting.document import Block, Heading, Paragraph, Table, table

SCORES = {
    "update": "|Δ|",
    "gradient": "|g|",
    "gradient_sum": "Σg²",
    "snip": "|w·g| (SNIP)",
    "fisher": "Fisher information of the init",
    "adam_v": "Adam's v",
    "relative_update": "|Δ|/|w|",
    "inverse_magnitude": "1/|w| of the init",
    "random": "random",
}


def arms_table(found: Sequence[Arm]) -> Table:
    """Every arm beside the full runs of its context."""
    fine, coarse = TOLERANCES
    header = (
        *(("at", "l"), ("arm", "l"), ("seeds", "r"), ("trained weights, %", "r")),
        *(("greedy accuracy, points", "r"), ("against full, points", "r"), ("distance", "r")),
        *(("equal at 1e-5, %", "r"), ("bound, %", "r"), ("equal at 1e-4, %", "r"), ("bound, %", "r")),
    )
    rows = [
        (
            arm.context or "baseline",
            f"**{arm.level}**" if arm.kind == roles.FULL else arm.level,
            str(arm.n),
            fmt.percent(arm.budget),
            fmt.points(arm.gain),
            "0" if arm.kind == roles.FULL else fmt.points(arm.against_full),
            fmt.number(arm.distance),
            *(text for tau in (fine, coarse) for text in (fmt.percent(arm.equal[tau]), fmt.share(arm.bound[tau].mean))),
        )
        for arm in found
    ]
    caption = (
        "Accuracy: held-out, greedy, after minus before. Against full: paired by seed. Distance: ‖θ − θ_source‖ /"
        " ‖θ_source − θ_init‖ of exported weights, the source being the run that the mask is from; of the full runs"
        " (bold), to the full run of another seed. Equal: share of weights whose exported values are at most so far"
        " from the source's (of full runs: another seed's). Bound: share that could not be farther apart, Adam moving"
        " a weight by its learning rate a step. Outside of a run's own mask it has its source's weights whatever it"
        " does. ±: 95 % over seeds; between seeds by the jackknife, as pairs share runs."
    )
    return table(header, rows, caption)


def arms(found: Sequence[Arm]) -> list[Block]:
    """Conjecture 1 and its controls."""
    return [Heading(2, "Training restricted to a subnetwork"), arms_table(found)] if found else []


def transfer(grid: Grid, found: Sequence[Arm]) -> list[Block]:
    """Masks of one run used by another: a row an arm, a column a method; of grids that cross the two."""
    method, factor = roles.factor_with(grid, roles.METHOD), roles.factor_with(grid, roles.ARM)
    crossed = any(method in each and factor in each for each in grid.crossed)
    if method is None or factor is None or not crossed or not any(" of " in arm.kind for arm in found):
        return []
    base = grid.factors[method].baseline
    only = [arm for arm in found if set(arm.cell) <= {method, factor}]
    columns = list(dict.fromkeys(arm.cell.get(method, base) for arm in only))
    rows = list(dict.fromkeys(arm.level for arm in only))
    by_place = {(arm.level, arm.cell.get(method, base)): arm for arm in only}

    def matrix(what: str, text: Mapping[tuple[str, str], str]) -> Table:
        header = [("mask \\ used by", "l"), *((name, "r") for name in columns)]
        body = [(row, *(text.get((row, column), fmt.NONE) for column in columns)) for row in rows]
        return table(header, body, what)

    return [
        Heading(2, "Transfer: a mask found by one, used by another"),
        matrix(
            "Held-out greedy accuracy, after minus before, points; ± 95 % over seeds.",
            {place: fmt.points(arm.gain) for place, arm in by_place.items()},
        ),
        matrix(
            "The same against the full runs of the same column, paired by seed.",
            {place: fmt.points(arm.against_full) for place, arm in by_place.items()},
        ),
    ]


def early_table(cells: Mapping[str, Identification]) -> Table:
    """Average precision by score and step, and precision at the final mask's budget at the last of the steps."""
    steps = sorted({step for each in cells.values() for step in each.steps})
    header = (
        *(("at", "l"), ("score", "l"), ("seeds", "r"), ("chance, %", "r")),
        *((f"AUPRC at {step}, %", "r") for step in steps),
        *((f"precision at {step}, %", "r") for step in (steps[0], steps[-1])),
    )
    rows = [
        (
            context,
            SCORES.get(found.score, found.score),
            str(each.n),
            fmt.share(each.density.mean),
            *(_share(found.auprc, step) for step in steps),
            *(_share(found.precision, step) for step in (steps[0], steps[-1])),
        )
        for context, each in cells.items()
        for found in each.scores
    ]
    caption = (
        "How well coordinates ranked by a score after so many optimizer steps find the mask that the run ends with."
        " AUPRC: average precision; precision at the final mask's size, where recall is the same. Chance, of both: the"
        " final mask's density. 1/|w| needs no training: in bf16 a change shows where weights are small. ±: 95 % over"
        " seeds."
    )
    return table(header, rows, caption)


def early(cells: Mapping[str, Identification], figure: Sequence[Block]) -> list[Block]:
    """Early identification."""
    if not cells:
        return []
    return [Heading(2, "Finding the mask early"), *_best(cells), early_table(cells), *figure]


def _best(cells: Mapping[str, Identification]) -> list[Block]:
    """For each cell, the best score at the first step, and from when on one beats what the init's weights say."""
    sentences = []
    for context, each in cells.items():
        magnitude = each.at("inverse_magnitude")
        trained = [found for found in each.scores if found.score not in ("inverse_magnitude", "random")]
        if magnitude is None or not trained or not each.steps:
            continue
        first = each.steps[0]
        known = magnitude.auprc[first].mean
        best = max(trained, key=lambda found, step=first: _or_zero(found, step))  # type: ignore[misc]
        overtaken = [(step, found) for step in each.steps for found in trained if _or_zero(found, step) > known]
        text = (
            f"{context}: of the scores at step {first}, {SCORES.get(best.score, best.score)} finds the final mask best"
            f" (AUPRC {fmt.percent(best.auprc[first])} %, chance {fmt.share(each.density.mean)} %); 1/|w| of the init"
            f" alone has {fmt.share(known)} %, and is "
        )
        if overtaken:
            step, found = overtaken[0]
            text += f"exceeded first at step {step}, by {SCORES.get(found.score, found.score)}."
        else:
            text += f"exceeded by none of them up to step {each.steps[-1]}."
        sentences.append(Paragraph(text))
    return list(sentences)


def _or_zero(found: Found, step: int) -> float:
    mean = found.auprc[step].mean
    return 0.0 if math.isnan(mean) else mean


def _share(values: Mapping[int, Estimate], step: int) -> str:
    return fmt.percent(values[step]) if step in values else fmt.NONE
