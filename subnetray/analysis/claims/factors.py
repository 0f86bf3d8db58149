"""Claims of the literature that a grid can test, and what its runs say about them.

A verdict follows from an estimate's interval and a margin that the claim's ``test`` states: see ``verdicts``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from subnetray.analysis import roles
from subnetray.analysis.anova import two_way
from subnetray.analysis.claims import (
    ceiling,
    conjecture,
    distribution,
    interactions,
    parts,
    published,
    restricted,
    sparsity,
    stages,
)
from subnetray.analysis.claims.ceiling import OVERLAP_MARGIN, ROOM_TAKEN, UNKNOWN, called
from subnetray.analysis.contrasts import densities, least_squares_slope, logit, runs_used
from subnetray.analysis.effects import DENSITY, paired_difference, runs_of, values_by_seed
from subnetray.analysis.intervals import NOTHING, Estimate, jackknife, t_interval
from subnetray.analysis.manipulation import CLIPPED, FULL, KL_MOVED, kl_change
from subnetray.analysis.pairs import SEED, group, seed_groups
from subnetray.analysis.paper import CANCELLED, PAPER, STEP_SPARSITY, STEP_SPARSITY_RATE, STEP_SPARSITY_SOURCE
from subnetray.analysis.verdicts import (
    Claim,
    above,
    decided,
    every,
    exceeds,
    in_points,
    in_words,
    together,
    untested,
    within,
)
from subnetray.config import Grid
from subnetray.nulls import NULLS, STRONGEST, Uniform

EQUIVALENCE_MARGIN = 0.05  # of density: an impact within ± 5 points counts as limited
SPARSITY_MARGIN = 0.10  # of sparsity: what bf16 must have more than fp32
DENSE = 0.05  # of sparsity: below, an update is dense


# ---------------------------------------------------------------------------------------------------------------------
# claims


def claims(
    grid: Grid,
    runs: pd.DataFrame,
    pairs: pd.DataFrame,
    clipped: float = math.nan,
    tensors: parts.Tensors = lambda run_id: (),
) -> list[Claim]:
    """Every claim, in the order of the literature.

    ``pairs``: as :func:`subnetray.analysis.pairs.label_pairs` makes them. ``clipped``: share of steps whose gradient
    was over the limit where there is one; NaN if that is not known. ``tensors``: what the result of a run lists.
    """
    return together(
        [
            *sparsity.claims(grid, runs),
            *published.claims(grid, runs),
            _precision(grid, runs),
            _clip(grid, runs, clipped),
            _kl(grid, runs),
            *stages.claims(grid, runs),
            _steps(grid, runs),
            *distribution.claims(grid, runs),
            _never(grid, runs),
            _one_step(grid, runs),
            *parts.claims(grid, runs, tensors),
            _overlap(grid, pairs, Uniform.name),
            _overlap(grid, pairs, STRONGEST),
            *ceiling.claims(grid, pairs),
            _variance(grid, runs),
            *interactions.claims(grid, runs),
            *conjecture.claims(grid, runs, pairs),
            *restricted.claims(grid, runs, pairs),
        ]
    )


def _precision(grid: Grid, runs: pd.DataFrame) -> Claim:
    claim = Claim(
        key="sparse_in_bf16_not_in_fp32",
        statement="RL updates are sparse in bf16, and not in fp32.",
        source=f"{PAPER} section 2.2 and footnote 5; arXiv 2509.04259",
        test=(
            f"Sparsity in bf16 exceeds that in fp32 by more than {100 * SPARSITY_MARGIN:.0f} points, paired by seed,"
            f" and sparsity in fp32 is below {100 * DENSE:.0f} %; everything else at the baseline."
        ),
        verdict="not tested",
    )
    factor = roles.factor_with(grid, roles.PRECISION)
    if factor is None:
        return untested(claim, "the grid does not vary precision")
    kinds = {roles.kind(grid, factor, level): {factor: level} for level in grid.factors[factor].levels}
    # fp32_master trains as fp32 does and is exported in bf16; pure bf16 also trains differently.
    narrow = kinds.get("fp32_master", kinds.get("bf16"))
    if narrow is None or "fp32" not in kinds:
        return untested(claim, "the grid does not have both bf16 and fp32")
    wide = kinds["fp32"]
    difference = t_interval(paired_difference(grid, runs, wide, narrow).values())
    fp32_density = t_interval(densities(grid, runs, wide).values())
    if math.isnan(difference.mean):
        return untested(claim, "no seed has finished in both")
    sparse, dense = exceeds(difference, SPARSITY_MARGIN), above(fp32_density, 1 - DENSE)
    return decided(
        claim,
        every((sparse, dense)),
        in_points(difference),
        f"sparsity in fp32 is {100 * (1 - fp32_density.mean):.2f} %",
        runs_used(grid, runs, (narrow, wide)),
    )


def _clip(grid: Grid, runs: pd.DataFrame, clipped: float) -> Claim:
    statement = "Gradient clipping has limited impact on the density of an update."
    asked = f"At least {100 * CLIPPED:.0f} % of gradients must have been over the limit."
    claim = _limited(grid, runs, _Regularizer(roles.CLIP, "gradient clipping", statement, asked))
    if claim.verdict == "not tested" or math.isnan(clipped):
        return claim
    if clipped < CLIPPED:
        share = f"only {100 * clipped:.1f} % of gradients were" if clipped else "no gradient was ever"
        why = f"{share} over the limit: a lower algorithm.max_grad_norm would test it"
        return dataclasses.replace(claim, verdict="not tested", p=math.nan, estimate=NOTHING, runs=(), note=why)
    return dataclasses.replace(claim, note=f"{claim.note}; {100 * clipped:.0f} % of gradients were over the limit")


def _kl(grid: Grid, runs: pd.DataFrame) -> Claim:
    statement = "A KL penalty has limited impact on the density of an update."
    asked = f"Levels count that changed the final KL to the init by at least {100 * KL_MOVED:.0f} %."
    return _limited(grid, runs, _Regularizer(roles.KL, "the KL penalty", statement, asked))


class _Regularizer(NamedTuple):
    """A regularizer, and what is ``asked`` of its levels."""

    role: str
    name: str
    statement: str
    asked: str


def _limited(grid: Grid, runs: pd.DataFrame, regularizer: _Regularizer) -> Claim:
    role = regularizer.role
    claim = Claim(
        key=f"limited_impact_of_{role}",
        statement=regularizer.statement,
        source=f"{PAPER} section 6",
        test=(
            f"Equivalence (two one-sided tests at 5 %): the density of every level is within ±"
            f" {100 * EQUIVALENCE_MARGIN:.0f} points of the baseline's, paired by seed. The estimate is the largest."
            f" {regularizer.asked}"
        ),
        verdict="not tested",
        level=0.9,
    )
    factor = roles.factor_with(grid, role)
    if factor is None:
        return untested(claim, f"the grid does not vary {regularizer.name}")
    found = {
        level: t_interval(paired_difference(grid, runs, {factor: level}, {}).values(), claim.level)
        for level in grid.factors[factor].levels
        if level != grid.factors[factor].baseline
    }
    found = {level: estimate for level, estimate in found.items() if estimate.n}
    if not found:
        return untested(claim, "no seed has finished at the baseline and at another level")
    moved = {level: kl_change(grid, runs, {factor: level}, {}) for level in found} if role == roles.KL else {}
    weak = {level: change for level, change in moved.items() if not abs(change) >= KL_MOVED}
    found = {level: estimate for level, estimate in found.items() if level not in weak}
    if not found:
        changes = ", ".join(f"{100 * change:+.0f} % at {level}" for level, change in weak.items())
        return untested(claim, f"no level moved the final KL to the init by enough ({changes})".replace("-", "−"))
    largest = max(found, key=lambda level: abs(found[level].mean))
    return decided(
        claim,
        every(within(estimate, EQUIVALENCE_MARGIN) for estimate in found.values()),
        in_points(found[largest]),
        f"largest at {factor}={largest}",
        runs_used(grid, runs, ({}, *({factor: level} for level in found))),
    )


def _steps(grid: Grid, runs: pd.DataFrame) -> Claim:
    claim = Claim(
        key="more_steps_denser",
        statement="More optimizer steps make an update denser.",
        source=f"{PAPER} section 6",
        test="The slope of logit density over log2 of the steps, seed by seed, is above 0.",
        verdict="not tested",
        unit="logits per doubling of steps",
    )
    factor = roles.factor_with(grid, roles.STEPS)
    if factor is None:
        return untested(claim, "the grid does not vary the number of steps")
    cells = [{factor: level} for level in grid.factors[factor].levels]
    points: dict[int, list[tuple[float, float]]] = {}
    for cell in cells:
        selected = runs_of(grid, runs, cell)
        for seed, steps, n, density in selected[["seed", "steps", "n", DENSITY]].itertuples(index=False):
            points.setdefault(int(seed), []).append((math.log2(steps), logit(density, n)))
    slopes = [least_squares_slope(each) for each in points.values() if len({x for x, _ in each}) > 1]
    if not slopes:
        return untested(claim, "no seed has finished with two numbers of steps")
    estimate = t_interval(slopes)
    return decided(claim, above(estimate, 0), estimate, "", runs_used(grid, runs, cells))


def _never(grid: Grid, runs: pd.DataFrame) -> Claim:
    reported = CANCELLED.never / (CANCELLED.never + CANCELLED.cancelled)
    claim = Claim(
        key="unchanged_were_never_changed",
        statement="Most weights that end as they began were never visibly changed, rather than changed and restored.",
        source=f"{CANCELLED.source}: {100 * CANCELLED.never:.0f} % never, {100 * CANCELLED.cancelled:.0f} % cancelled",
        test=(
            "Of the weights that end unchanged at the baseline, more than half differed from the init at no measured"
            f" step (reported: {100 * reported:.0f} %, at {CANCELLED.checkpoints} checkpoints of one run)."
        ),
        verdict="not tested",
        unit="% of the unchanged",
    )
    ever, density = values_by_seed(grid, runs, {}, "density_ever"), densities(grid, runs, {})
    # In fp32 nothing may be left unchanged.
    shares = {seed: (1 - ever[seed]) / (1 - density[seed]) for seed in ever if density[seed] < 1}
    if not shares:
        return untested(claim, "no run at the baseline has recorded which weights changed along the way")
    estimate = t_interval(shares.values())
    cancelled, of_ever = (
        t_interval(values_by_seed(grid, runs, {}, name).values()) for name in ("cancelled_of_n", "cancelled_of_ever")
    )
    note = f"cancelled: {100 * cancelled.mean:.1f} % of all weights, {100 * of_ever.mean:.1f} % of those ever changed"
    return decided(claim, above(estimate, 0.5), in_points(estimate), note, runs_used(grid, runs, ({},), shares))


def _one_step(grid: Grid, runs: pd.DataFrame) -> Claim:
    claim = Claim(
        key="one_step_changes_little",
        statement=(
            f"At learning rates up to {STEP_SPARSITY_RATE:g}, one optimizer step leaves more than"
            f" {100 * STEP_SPARSITY:.0f} % of the weights unchanged in bf16."
        ),
        source=f"{STEP_SPARSITY_SOURCE}, RL at a learning rate of {STEP_SPARSITY_RATE:g}",
        test=(
            f"Mean over steps of the share of weights that a step leaves unchanged is above {100 * STEP_SPARSITY:.0f} %"
            f" at the baseline, at every learning rate of the grid up to {STEP_SPARSITY_RATE:g}. The estimate is the"
            " lowest."
        ),
        verdict="not tested",
        unit="% of all weights",
    )
    rate = roles.factor_with(grid, roles.LEARNING_RATE)
    cells: list[dict[str, str]] = [{rate: level} for level in grid.factors[rate].levels] if rate else [{}]
    low: list[tuple[float, Estimate, dict[str, str]]] = []
    others: list[tuple[float, Estimate, dict[str, str]]] = []
    for cell in cells:
        selected = runs_of(grid, runs, cell)
        steps = values_by_seed(grid, selected[selected["export_dtype"] == "bfloat16"], cell, "density_step")
        if steps:
            learning_rate, estimate = float(selected["lr"].iloc[0]), t_interval(1 - value for value in steps.values())
            (low if learning_rate <= STEP_SPARSITY_RATE else others).append((learning_rate, estimate, cell))
    if not low:
        return untested(claim, f"no run in bf16 with a learning rate up to {STEP_SPARSITY_RATE:g} recorded its steps")
    _, lowest, _ = min(low, key=lambda each: each[1].mean)
    note = "; ".join(f"{100 * estimate.mean:.1f} % at {learning_rate:g}" for learning_rate, estimate, _ in others)
    verdict = every(above(estimate, STEP_SPARSITY) for _, estimate, _ in low)
    return decided(claim, verdict, in_points(lowest), note, runs_used(grid, runs, [cell for *_, cell in low]))


def _overlap(grid: Grid, pairs: pd.DataFrame, null: str) -> Claim:
    claim = Claim(
        key=f"seeds_overlap_beyond_{null}",
        statement=f"Masks of different seeds overlap more than {called(null)} expects.",
        source=f"{PAPER} Table 4" + ("" if null == Uniform.name else ", against a null that it lacks"),
        test=(
            f"{ROOM_TAKEN}, mean over all pairs that differ in the seed alone and fill less than {100 * FULL:.0f} % of"
            f" the model, exceeds {100 * OVERLAP_MARGIN:.0f} %; jackknife over seeds."
        ),
        verdict="not tested",
        unit="% of the room",
    )
    selected = pairs[(pairs["differs"] == SEED) & (pairs["k1"] < FULL * pairs["n"]) & (pairs["k2"] < FULL * pairs["n"])]
    if selected.empty:
        return untested(claim, "no cell has two finished seeds whose masks leave room")
    whole = group(grid, selected)
    found = whole.nulls[null]
    if math.isnan(found.room.mean):
        return untested(claim, UNKNOWN)
    cells = seed_groups(grid, selected)
    over = [each.nulls[null].room for each in cells]
    count = sum(exceeds(each, OVERLAP_MARGIN).verdict == "supported" for each in over)
    note = f"o1 {in_words(in_points(found.excess))} above it; {count} of {len(cells)} cells exceed it on their own"
    if not math.isnan((ratio := found.odds_ratio).mean):
        kind = "odds ratio" if null == Uniform.name else f"{NULLS[null].odds} odds ratio"
        note += f"; {kind} {ratio.mean:.2f}" + (
            "" if math.isnan(ratio.low) else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
        )
    used = tuple(dict.fromkeys((*selected["run_a"], *selected["run_b"])))
    return decided(claim, exceeds(found.room, OVERLAP_MARGIN), in_points(found.room), note, used)


def _variance(grid: Grid, runs: pd.DataFrame) -> Claim:
    claim = Claim(
        key="learning_rate_explains_more_than_algorithm",
        statement="The learning rate explains more of the variance of density than the algorithm does.",
        source=f"{PAPER}, appendix C against Table 1: its SFT and RL checkpoints were trained at other learning rates",
        test=(
            "Two-way analysis of variance of logit density over the crossing of both, seeds as blocks: η² (share of the"
            " variance) of the learning rate minus that of the algorithm is above 0; jackknife over seeds."
        ),
        verdict="not tested",
        unit="share of variance",
    )
    rate, method = roles.factor_with(grid, roles.LEARNING_RATE), roles.factor_with(grid, roles.METHOD)
    crossed = next((each for each in grid.crossed if rate in each and method in each), None)
    if rate is None or method is None or crossed is None:
        return untested(claim, "the grid does not cross the learning rate with the algorithm")
    cells = [{rate: x, method: y} for x in crossed[rate] for y in crossed[method]]
    known = [
        {
            int(seed): logit(density, n)
            for seed, n, density in runs_of(grid, runs, cell)[["seed", "n", DENSITY]].itertuples(index=False)
        }
        for cell in cells
    ]
    seeds = [seed for seed in grid.seeds if all(seed in values for values in known)]
    shape = (len(crossed[rate]), len(crossed[method]))
    if min(shape) < 2 or len(seeds) < 2:
        return untested(claim, "fewer than two seeds have finished in every cell of the crossing")

    def table(kept: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([[values[seed] for seed in kept] for values in known]).reshape(*shape, -1)

    def difference(kept: Collection[Hashable]) -> float:
        values = table([seed for seed in seeds if seed in kept])
        # One block has no error left, which shares of the total do without.
        anova = two_way(values if values.shape[2] > 1 else np.repeat(values, 2, axis=2))
        return anova.rows.eta - anova.columns.eta

    anova = two_way(table(seeds))
    estimate = jackknife(seeds, difference)
    note = "; ".join(
        f"{name}: η² {effect.eta:.3f}, partial η² {effect.partial_eta:.3f}"
        for name, effect in ((rate, anova.rows), (method, anova.columns), ("interaction", anova.interaction))
    )
    span = f"; over the grid's levels, {', '.join(crossed[rate])} and {', '.join(crossed[method])}"
    return decided(claim, above(estimate, 0), estimate, note + span, runs_used(grid, runs, cells, seeds))
