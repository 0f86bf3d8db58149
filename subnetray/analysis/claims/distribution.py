"""Data in and off the policy's distribution: are they why updates are sparse? Section 6 of arXiv 2505.11711.

How far data are from the policy is a number here, their NLL under the init. Only algorithms count whose data off the
distribution are farther than those in it by enough to be called so, and that leave room for a denser update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from subnetray.analysis import roles
from subnetray.analysis.claims.sparsity import SPARSER_MARGIN
from subnetray.analysis.contrasts import (
    NLL_GAP,
    Contrast,
    data_contrasts,
    mean_data_nll,
    nll_gap,
    runs_used,
    tenfold_effect,
)
from subnetray.analysis.intervals import t_interval
from subnetray.analysis.manipulation import FULL, has_room
from subnetray.analysis.paper import PAPER
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, above, agreed, decided, exceeds, in_points, in_words, untested

_ASKED = (
    f"Algorithms count whose data off the distribution have an NLL under the init of at least {NLL_GAP:g} nat a token"
    f" above that of data in it (of several kinds of data, those that do), and whose updates on the latter fill less"
    f" than {100 * FULL:.0f} % of the model."
)
_SPARSER = Claim(
    key="in_distribution_sparser",
    statement="Training data in the policy's distribution make updates sparser, at the same learning rate.",
    source=f"{PAPER} section 6, Table 5",
    test=(
        "Density with off-distribution data exceeds that with in-distribution data by more than"
        f" {100 * SPARSER_MARGIN:.0f} point, in every algorithm that the grid trains on both, paired by seed. The"
        f" estimate is the mean over algorithms; where they disagree the claim is inconclusive. {_ASKED}"
    ),
    verdict="not tested",
)
_CAUSE = Claim(
    key="in_distribution_is_the_main_cause",
    statement="Training data in the policy's distribution are the main cause of sparsity.",
    source=f"{PAPER} section 6",
    test=(
        "What off-distribution data add to density exceeds what a tenfold learning rate adds in the same algorithm (the"
        " range over the grid's rates divided by the decades that they span, mean over its data), in every algorithm,"
        f" paired by seed. The estimate is the mean difference over algorithms. {_ASKED}"
    ),
    verdict="not tested",
)

BySeed = Mapping[int, float]


def claims(results: Results) -> list[Claim]:
    """Return both claims."""
    contrasts = data_contrasts(results)
    if not contrasts:
        reason = (
            "the grid trains no algorithm on data both in and off the policy's distribution, or no seed finished both"
        )
        return [untested(each, reason) for each in (_SPARSER, _CAUSE)]
    reasons = {name: _reason(results, each) for name, each in contrasts.items()}
    left_out = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    contrasts = {name: each for name, each in contrasts.items() if not reasons[name]}
    if not contrasts:
        return [untested(each, left_out) for each in (_SPARSER, _CAUSE)]
    note = f"; not counted: {left_out}" if left_out else ""
    return [_sparser(results, contrasts, note), _cause(results, contrasts, note)]


def _reason(results: Results, contrast: Contrast) -> str:
    """Say why an algorithm cannot tell what its data's distribution does; empty if it can."""
    gap = nll_gap(results, contrast.inside, contrast.outside)
    if not gap >= NLL_GAP:
        found = "is not known" if math.isnan(gap) else f"is {gap:+.2f} nats a token".replace("-", "−")
        return f"the NLL of its off-distribution data, above that of the others, {found}"
    return "" if has_room(results, contrast.inside) else "its updates on in-distribution data leave no room"


def _sparser(results: Results, contrasts: Mapping[str, Contrast], left_out: str) -> Claim:
    by_algorithm = {name: t_interval(each.differences.values()) for name, each in contrasts.items()}
    averages = _averages({name: each.differences for name, each in contrasts.items()})
    note = "; ".join(
        f"{name}: {in_words(in_points(by_algorithm[name]))}, NLL of the data"
        f" {mean_data_nll(results, each.inside):.2f} in and {mean_data_nll(results, each.outside):.2f} off"
        " distribution"
        for name, each in contrasts.items()
    )
    cells = [cell for each in contrasts.values() for cell in (*each.inside, *each.outside)]
    return decided(
        _SPARSER,
        agreed(exceeds(estimate, SPARSER_MARGIN) for estimate in by_algorithm.values()),
        in_points(t_interval(averages.values())),
        note + left_out,
        runs_used(results, cells, averages),
    )


def _cause(results: Results, contrasts: Mapping[str, Contrast], left_out: str) -> Claim:
    rate = roles.factor_with(results.grid, roles.LEARNING_RATE)
    if rate is None:
        return untested(_CAUSE, "the grid does not vary the learning rate")
    more: dict[str, BySeed] = {}
    tenfold: dict[str, BySeed] = {}
    cells: list[dict[str, str]] = []
    for name, contrast in contrasts.items():
        effects = [tenfold_effect(results, rate, cell) for cell in (*contrast.inside, *contrast.outside)]
        by_cell = [by_seed for by_seed, _ in effects if by_seed]
        seeds = set.intersection(*map(set, (contrast.differences, *by_cell))) if by_cell else set()
        if seeds:
            tenfold[name] = {
                seed: math.fsum(by_seed[seed] for by_seed in by_cell) / len(by_cell) for seed in sorted(seeds)
            }
            more[name] = {seed: contrast.differences[seed] - tenfold[name][seed] for seed in tenfold[name]}
            cells += [*contrast.inside, *contrast.outside, *(cell for _, each in effects for cell in each)]
    if not more:
        return untested(_CAUSE, "the grid varies the learning rate of no algorithm that tells its data apart")
    averages = _averages(more)
    note = "; ".join(
        f"{name}: a tenfold learning rate {in_words(in_points(t_interval(by_seed.values())))}"
        for name, by_seed in tenfold.items()
    )
    return decided(
        _CAUSE,
        agreed(above(t_interval(by_seed.values()), 0) for by_seed in more.values()),
        in_points(t_interval(averages.values())),
        note + left_out,
        runs_used(results, list({repr(cell): cell for cell in cells}.values()), averages),
    )


def _averages(by_algorithm: Mapping[str, BySeed]) -> dict[int, float]:
    """Average over algorithms, for the seeds that all of them have."""
    seeds = set.intersection(*map(set, by_algorithm.values()))
    return {
        seed: math.fsum(values[seed] for values in by_algorithm.values()) / len(by_algorithm) for seed in sorted(seeds)
    }
