"""The section of a report on interactions: what the mixed models of its crossings say, and no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from subnetray.analysis.claims.interactions import DENSITY_RESPONSE, OVERLAP_RESPONSE, Model
from subnetray.analysis.factorial import Effect, Fit
from subnetray.analysis.verdicts import ALPHA
from subnetray.grid import fraction
from subnetray.nulls import NULLS, STRONGEST
from subnetray.reporting import format as fmt
from subnetray.reporting.document import Block, Bullets, Figure, Heading, Paragraph, Table, table
from subnetray.reporting.pictures import figures


def section(models: Sequence[Model], figure: Callable[[str, Callable[[Path], None], str], Figure]) -> list[Block]:
    """Table, figure and sentences; nothing without models. ``figure`` makes one of a name, a drawing and a caption."""
    fitted = [each for each in models if each.fit is not None]
    if not models:
        return []
    blocks: list[Block] = [Heading(2, "Interactions: does the effect of one factor depend on another?")]
    if fitted:
        blocks += [interactions_table(models), _figure(fitted, figure)]
        blocks.append(Bullets(tuple(text for each in fitted for text in _sentences(each))))
    reasons = [f"{each.response} of {' × '.join(each.factors)}: {each.reason}" for each in models if each.fit is None]
    if reasons:
        blocks.append(Paragraph(f"Not analysed: {'; '.join(reasons)}."))
    return blocks


def interactions_table(models: Sequence[Model]) -> Table:
    """Every effect of every model that was fitted."""
    header = (
        *(("crossing", "l"), ("response", "l"), ("effect", "l"), ("F", "r"), ("degrees of freedom", "r")),
        *(("p", "r"), ("p (Holm)", "r"), ("partial η²", "r"), ("95 %", "l")),
    )
    rows = [
        (
            " × ".join(each.factors),
            each.response,
            _name(effect),
            f"{effect.f:,.1f}",
            f"{effect.df}, {each.fit.error_df}",
            _p(effect.p),
            _p(effect.p_holm),
            fmt.plain(effect.partial_eta.mean, 3),
            _ends(effect),
        )
        for each in models
        if each.fit is not None
        for effect in each.fit.effects
    ]
    caption = (
        "Mixed models: cells fixed, inits and seeds within them random (REML); each cell counts alike. Holm: over the"
        " effects of a model. Partial η²: the share of the variance of runs, but for that of blocks and other effects."
        f" {OVERLAP_RESPONSE[:1].upper()}{OVERLAP_RESPONSE[1:]}: what runs of one cell share of the room that the"
        f" {NULLS[STRONGEST].title} null leaves, each run's part of it (pseudo-values of the jackknife over seeds)."
    )
    return table(header, rows, caption)


def _sentences(model: Model) -> list[str]:
    assert model.fit is not None
    found = [_sentence(model, model.fit, effect) for effect in model.fit.effects if len(effect.terms[0]) == 2]
    return [*found, _spread(model, model.fit)]


def _sentence(model: Model, fit: Fit, effect: Effect) -> str:
    """Say of one interaction what its test says: that there is one, or how large one these runs leave possible."""
    test = f"F({effect.df}, {fit.error_df}) = {effect.f:,.1f}, Holm's p {_equals(effect.p_holm)}"
    eta = f"partial η² {fmt.plain(effect.partial_eta.mean, 2)} {_ends(effect)}"
    what = f"{_name(effect)}, on {model.response}"
    if effect.p_holm < ALPHA:
        apart = ", which the design cannot tell apart" if len(effect.terms) > 1 else ""
        return f"**{what}**{apart}: the effect of one factor differs between levels of the other ({test}; {eta})."
    most = effect.partial_eta.high
    left = "" if math.isnan(most) else f", and one with a partial η² of up to {fmt.plain(most, 2)} is not ruled out"
    return f"{what}: no interaction was seen ({test}){left}."


def _spread(model: Model, fit: Fit) -> str:
    digits = 2 if model.response == DENSITY_RESPONSE else 3
    parts = [
        f"{name} {fmt.plain(value, digits)}"
        for name, value in (
            ("between inits", fit.init_sd),
            ("between seeds", fit.seed_sd),
            ("between runs of a block", fit.run_sd),
        )
        if not math.isnan(value)
    ]
    return f"Standard deviations of {model.response} in {' × '.join(model.factors)}: {', '.join(parts)}."


def _figure(models: Sequence[Model], figure: Callable[[str, Callable[[Path], None], str], Figure]) -> Figure:
    groups = [
        (
            f"{each.response}: {' × '.join(each.factors)}",
            [figures.Row(_name(effect), effect.partial_eta) for effect in each.fit.effects],
        )
        for each in models
        if each.fit is not None
    ]
    return figure(
        "interactions",
        lambda path: figures.shares(path, groups, "partial η²"),
        "Partial η² of main effects and interactions, with 95 % intervals (noncentral F).",
    )


def _name(effect: Effect) -> str:
    if len(effect.terms[0]) > 2:
        return "three factors" if len(effect.terms) == 1 else "three and more factors"
    return " or ".join(map(fraction.in_words, effect.terms))


def _ends(effect: Effect) -> str:
    low, high = effect.partial_eta.low, effect.partial_eta.high
    return fmt.NONE if math.isnan(low + high) else f"[{fmt.plain(low, 2)}, {fmt.plain(high, 2)}]"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _equals(value: float) -> str:
    return _p(value) if value < 0.001 else f"= {_p(value)}"
