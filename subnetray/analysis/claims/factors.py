"""Factors around the baseline: precision, clipping, KL, steps, the rate against the algorithm, and seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from subnetray.analysis import roles
from subnetray.analysis.anova import two_way
from subnetray.analysis.claims.ceiling import OVERLAP_MARGIN, ROOM_TAKEN, UNKNOWN, called
from subnetray.analysis.contrasts import densities, least_squares_slope, logit, runs_used
from subnetray.analysis.effects import DENSITY, paired_difference, runs_of, values_by_seed
from subnetray.analysis.intervals import NOTHING, Estimate, jackknife, t_interval
from subnetray.analysis.manipulation import CLIPPED, FULL, KL_MOVED, kl_change
from subnetray.analysis.pairs import SEED, group, seed_groups
from subnetray.analysis.paper import CANCELLED, PAPER, STEP_SPARSITY, STEP_SPARSITY_RATE, STEP_SPARSITY_SOURCE
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import (
    Claim,
    above,
    decided,
    every,
    exceeds,
    in_points,
    in_words,
    untested,
    within,
)
from subnetray.nulls import NULLS, STRONGEST, Uniform

EQUIVALENCE_MARGIN = 0.05  # of density: an impact within ± 5 points counts as limited
SPARSITY_MARGIN = 0.10  # of sparsity: what bf16 must have more than fp32
DENSE = 0.05  # of sparsity: below, an update is dense


def regularized(results: Results) -> list[Claim]:
    """Precision, clipping and the KL penalty: what the paper varies around a run."""
    return [_precision(results), _clip(results), _kl(results)]


def along_the_run(results: Results) -> list[Claim]:
    """What the steps of a run say of the weights that it leaves as they were."""
    return [_never(results), _one_step(results)]


def overlapping(results: Results) -> list[Claim]:
    """Seeds, against the null that knows least and the one that knows most."""
    return [_overlap(results, Uniform.name), _overlap(results, STRONGEST)]


def _precision(results: Results) -> Claim:
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
    factor = roles.factor_with(results.grid, roles.PRECISION)
    if factor is None:
        return untested(claim, "the grid does not vary precision")
    kinds = {roles.kind(results.grid, factor, level): {factor: level} for level in results.grid.factors[factor].levels}
    # fp32_master trains as fp32 does and is exported in bf16; pure bf16 also trains differently.
    narrow = kinds.get("fp32_master", kinds.get("bf16"))
    if narrow is None or "fp32" not in kinds:
        return untested(claim, "the grid does not have both bf16 and fp32")
    wide = kinds["fp32"]
    difference = t_interval(paired_difference(results, wide, narrow).values())
    fp32_density = t_interval(densities(results, wide).values())
    if math.isnan(difference.mean):
        return untested(claim, "no seed has finished in both")
    sparse, dense = exceeds(difference, SPARSITY_MARGIN), above(fp32_density, 1 - DENSE)
    return decided(
        claim,
        every((sparse, dense)),
        in_points(difference),
        f"sparsity in fp32 is {100 * (1 - fp32_density.mean):.2f} %",
        runs_used(results, (narrow, wide)),
    )


def _clip(results: Results) -> Claim:
    statement = "Gradient clipping has limited impact on the density of an update."
    asked = f"At least {100 * CLIPPED:.0f} % of gradients must have been over the limit."
    claim = _limited(results, _Regularizer(roles.CLIP, "gradient clipping", statement, asked))
    if claim.verdict == "not tested" or math.isnan(clipped := _clipped(results)):
        return claim
    if clipped < CLIPPED:
        share = f"only {100 * clipped:.1f} % of gradients were" if clipped else "no gradient was ever"
        why = f"{share} over the limit: a lower algorithm.max_grad_norm would test it"
        return dataclasses.replace(claim, verdict="not tested", p=math.nan, estimate=NOTHING, runs=(), note=why)
    return dataclasses.replace(claim, note=f"{claim.note}; {100 * clipped:.0f} % of gradients were over the limit")


def _clipped(results: Results) -> float:
    """Share of steps whose gradient norm was over the limit, in runs of levels that have one; NaN if unknown."""
    factor, over = roles.factor_with(results.grid, roles.CLIP), []
    assert factor is not None
    for level in results.grid.factors[factor].levels:
        limit = roles.value(results.grid, factor, level, "algorithm.max_grad_norm")
        if limit is None or roles.kind(results.grid, factor, level) == "off":
            continue
        for run_id in runs_of(results, {factor: level})["run_id"]:
            norms = [line["grad_norm"] for line in results.metrics(run_id) if line.get("grad_norm") is not None]
            over += [norm > float(limit) for norm in norms]
    return sum(over) / len(over) if over else math.nan


def _kl(results: Results) -> Claim:
    statement = "A KL penalty has limited impact on the density of an update."
    asked = f"Levels count that changed the final KL to the init by at least {100 * KL_MOVED:.0f} %."
    return _limited(results, _Regularizer(roles.KL, "the KL penalty", statement, asked))


class _Regularizer(NamedTuple):
    """A regularizer, and what is ``asked`` of its levels."""

    role: str
    name: str
    statement: str
    asked: str


def _limited(results: Results, regularizer: _Regularizer) -> Claim:
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
    factor = roles.factor_with(results.grid, role)
    if factor is None:
        return untested(claim, f"the grid does not vary {regularizer.name}")
    found = {
        level: t_interval(paired_difference(results, {factor: level}, {}).values(), claim.level)
        for level in results.grid.factors[factor].levels
        if level != results.grid.factors[factor].baseline
    }
    found = {level: estimate for level, estimate in found.items() if estimate.n}
    if not found:
        return untested(claim, "no seed has finished at the baseline and at another level")
    moved = {level: kl_change(results, {factor: level}, {}) for level in found} if role == roles.KL else {}
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
        runs_used(results, ({}, *({factor: level} for level in found))),
    )


def more_steps(results: Results) -> list[Claim]:
    """Whether more optimizer steps make an update denser."""
    claim = Claim(
        key="more_steps_denser",
        statement="More optimizer steps make an update denser.",
        source=f"{PAPER} section 6",
        test="The slope of logit density over log2 of the steps, seed by seed, is above 0.",
        verdict="not tested",
        unit="logits per doubling of steps",
    )
    factor = roles.factor_with(results.grid, roles.STEPS)
    if factor is None:
        return [untested(claim, "the grid does not vary the number of steps")]
    cells = [{factor: level} for level in results.grid.factors[factor].levels]
    points: dict[int, list[tuple[float, float]]] = {}
    for cell in cells:
        selected = runs_of(results, cell)
        for seed, steps, n, density in selected[["seed", "steps", "n", DENSITY]].itertuples(index=False):
            points.setdefault(int(seed), []).append((math.log2(steps), logit(density, n)))
    slopes = [least_squares_slope(each) for each in points.values() if len({x for x, _ in each}) > 1]
    if not slopes:
        return [untested(claim, "no seed has finished with two numbers of steps")]
    estimate = t_interval(slopes)
    return [decided(claim, above(estimate, 0), estimate, "", runs_used(results, cells))]


def _never(results: Results) -> Claim:
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
    ever, density = values_by_seed(results, {}, "density_ever"), densities(results, {})
    # In fp32 nothing may be left unchanged.
    shares = {seed: (1 - ever[seed]) / (1 - density[seed]) for seed in ever if density[seed] < 1}
    if not shares:
        return untested(claim, "no run at the baseline has recorded which weights changed along the way")
    estimate = t_interval(shares.values())
    cancelled, of_ever = (
        t_interval(values_by_seed(results, {}, name).values()) for name in ("cancelled_of_n", "cancelled_of_ever")
    )
    note = f"cancelled: {100 * cancelled.mean:.1f} % of all weights, {100 * of_ever.mean:.1f} % of those ever changed"
    return decided(claim, above(estimate, 0.5), in_points(estimate), note, runs_used(results, ({},), shares))


def _one_step(results: Results) -> Claim:
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
    rate = roles.factor_with(results.grid, roles.LEARNING_RATE)
    cells: list[dict[str, str]] = [{rate: level} for level in results.grid.factors[rate].levels] if rate else [{}]
    low: list[tuple[float, Estimate, dict[str, str]]] = []
    others: list[tuple[float, Estimate, dict[str, str]]] = []
    for cell in cells:
        selected = runs_of(results, cell)
        narrow = results.among(selected[selected["export_dtype"] == "bfloat16"])
        if steps := values_by_seed(narrow, cell, "density_step"):
            learning_rate, estimate = float(selected["lr"].iloc[0]), t_interval(1 - value for value in steps.values())
            (low if learning_rate <= STEP_SPARSITY_RATE else others).append((learning_rate, estimate, cell))
    if not low:
        return untested(claim, f"no run in bf16 with a learning rate up to {STEP_SPARSITY_RATE:g} recorded its steps")
    _, lowest, _ = min(low, key=lambda each: each[1].mean)
    note = "; ".join(f"{100 * estimate.mean:.1f} % at {learning_rate:g}" for learning_rate, estimate, _ in others)
    verdict = every(above(estimate, STEP_SPARSITY) for _, estimate, _ in low)
    return decided(claim, verdict, in_points(lowest), note, runs_used(results, [cell for *_, cell in low]))


def _overlap(results: Results, null: str) -> Claim:
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
    pairs = results.pairs
    selected = pairs[(pairs["differs"] == SEED) & (pairs["k1"] < FULL * pairs["n"]) & (pairs["k2"] < FULL * pairs["n"])]
    if selected.empty:
        return untested(claim, "no cell has two finished seeds whose masks leave room")
    whole = group(results.grid, selected)
    found = whole.nulls[null]
    if math.isnan(found.room.mean):
        return untested(claim, UNKNOWN)
    cells = seed_groups(results.grid, selected)
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


def variance(results: Results) -> list[Claim]:
    """Whether the learning rate explains more of the variance of density than the algorithm does."""
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
    rate, method = roles.factor_with(results.grid, roles.LEARNING_RATE), roles.factor_with(results.grid, roles.METHOD)
    crossed = next((each for each in results.grid.crossed if rate in each and method in each), None)
    if rate is None or method is None or crossed is None:
        return [untested(claim, "the grid does not cross the learning rate with the algorithm")]
    cells = [{rate: x, method: y} for x in crossed[rate] for y in crossed[method]]
    known = [
        {
            int(seed): logit(density, n)
            for seed, n, density in runs_of(results, cell)[["seed", "n", DENSITY]].itertuples(index=False)
        }
        for cell in cells
    ]
    seeds = [seed for seed in results.grid.seeds if all(seed in values for values in known)]
    shape = (len(crossed[rate]), len(crossed[method]))
    if min(shape) < 2 or len(seeds) < 2:
        return [untested(claim, "fewer than two seeds have finished in every cell of the crossing")]

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
    return [decided(claim, above(estimate, 0), estimate, note + span, runs_used(results, cells, seeds))]
