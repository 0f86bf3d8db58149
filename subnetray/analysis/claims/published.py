"""RL beside SFT as published: at rates ten times apart, at the same gain, and by the data that SFT and DPO had."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from subnetray.analysis import roles
from subnetray.analysis.claims.sparsity import GOLD, RL, SPARSER_MARGIN, by_rate
from subnetray.analysis.contrasts import NLL_GAP, data_contrasts, logit, mean_difference, nll_gap, runs_used
from subnetray.analysis.effects import DENSITY, TOLERANT_DENSITY, accuracy_change, runs_of, values_by_seed
from subnetray.analysis.intervals import Estimate, t_interval
from subnetray.analysis.manipulation import FULL, GAINED, has_room
from subnetray.analysis.paper import PAPER, PUBLISHED_RATES, UPDATED
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import (
    Claim,
    above,
    agreed,
    decided,
    exceeds,
    in_points,
    in_words,
    untested,
)
from subnetray.config import Grid

HALF = 0.5  # of the weights: what a dense update changes more than

Cell = dict[str, str]


def claims(results: Results) -> list[Claim]:
    """The four claims."""
    return [_at_published_rates(results), _at_matched_gain(results), _rejection(results), _dpo(results)]


def _at_published_rates(results: Results) -> Claim:
    claim = Claim(
        key="rl_sparser_than_sft_at_published_rates",
        statement=f"RL makes sparser updates than SFT does, at {PUBLISHED_RATES:g} times its learning rate.",
        source=f"{PAPER} section 3; arXiv 2411.15124 trained SFT at {PUBLISHED_RATES:g} times the rate of DPO",
        test=(
            f"Density of SFT on gold data at {PUBLISHED_RATES:g} times a learning rate minus that of RL at it, paired"
            f" by seed, is more than {100 * SPARSER_MARGIN:.0f} point for every two such rates of the grid at which RL"
            f" changes less than {100 * FULL:.0f} % of the weights; where rates disagree the claim is inconclusive. The"
            " estimate is the mean over rates."
        ),
        verdict="not tested",
    )
    ours, theirs = _cells(results.grid)
    if not ours or not theirs:
        return untested(claim, "the grid does not train both RL and SFT on gold data")
    found: dict[str, dict[int, float]] = {}
    used: list[Cell] = []
    for (low, at), (high, beyond) in itertools.permutations(by_rate(results.grid).items(), 2):
        rl, sft = [at | each for each in ours], [beyond | each for each in theirs]
        rates = [_rate(results, each) for each in (rl, sft)]
        if not math.isclose(rates[1], PUBLISHED_RATES * rates[0], rel_tol=0.2) or not has_room(results, rl):
            continue
        if by_seed := mean_difference(results, sft, rl):
            found[f"{low} and {high}"] = by_seed
            used += [*rl, *sft]
    if not found:
        return untested(claim, f"no seed has finished RL, and SFT at {PUBLISHED_RATES:g} times its rate")
    seeds = sorted(set.intersection(*map(set, found.values())))
    estimates = {name: t_interval(by_seed.values()) for name, by_seed in found.items()}
    return decided(
        claim,
        agreed(exceeds(each, SPARSER_MARGIN) for each in estimates.values()),
        in_points(t_interval(math.fsum(each[seed] for each in found.values()) / len(found) for seed in seeds)),
        "; ".join(f"{in_words(in_points(each))} at {name}" for name, each in estimates.items()),
        runs_used(results, _distinct(used)),
    )


def _at_matched_gain(results: Results) -> Claim:
    claim = Claim(
        key="rl_sparser_than_sft_at_matched_gain",
        statement="RL makes sparser updates than SFT does, where both gain as much.",
        source=f"{PAPER} section 3, where neither rates nor gains of the two are matched",
        test=(
            "Density that SFT on gold data has at the gain of an RL run (log odds, linear in the gain of held-out"
            " greedy accuracy between SFT's learning rates, same seed) minus that of the RL run is more than"
            f" {100 * SPARSER_MARGIN:.0f} point, mean over the rates at which RL gains {100 * GAINED:.0f} points or"
            " more, and no less and no more than SFT does."
        ),
        verdict="not tested",
    )
    ours, theirs = _cells(results.grid)
    if not ours or not theirs:
        return untested(claim, "the grid does not train both RL and SFT on gold data")
    rl, sft = ([at | each for at in by_rate(results.grid).values() for each in cells] for cells in (ours, theirs))
    there, here = _gains(results, sft), _gains(results, rl)
    differences = {}
    for seed in sorted(set(here) & set(there)):
        known = sorted(there[seed])
        gains, levels = [gain for gain, _ in known], [level for _, level in known]
        apart = [
            1 / (1 + math.exp(-float(np.interp(gain, gains, levels)))) - 1 / (1 + math.exp(-level))
            for gain, level in here[seed]
            if len(known) > 1 and gain >= GAINED and gains[0] <= gain <= gains[-1]
        ]
        if apart:
            differences[seed] = math.fsum(apart) / len(apart)
    if not differences:
        return untested(claim, "no RL run gained what lies between the gains of SFT at two learning rates")
    estimate = t_interval(differences.values())
    used = runs_used(results, [*rl, *sft], differences)
    return decided(claim, exceeds(estimate, SPARSER_MARGIN), in_points(estimate), "", used)


def _rejection(results: Results) -> Claim:
    limit = UPDATED[1]
    claim = Claim(
        key="rejection_sampling_sparse",
        statement=f"SFT on accepted samples of the policy updates less than {100 * limit:.0f} % of the weights.",
        source=f"{PAPER} Table 5: 91.2 % unchanged, against 6.8 % of other SFT; rates are not reported",
        test=(
            "The share of weights that SFT on rejection samples changes by more than 1e-5 is below"
            f" {100 * limit:.0f} %, at every learning rate of the grid; where rates disagree the claim is inconclusive."
            " The estimate is the share that is unchanged at the first rate."
        ),
        verdict="not tested",
        unit="% of all weights, unchanged",
    )
    cells = [cell for cell, kind in roles.methods(results.grid) if kind == "sft/rejection"]
    return _share(claim, results, cells, _Above(1 - limit, unchanged=True))


def _dpo(results: Results) -> Claim:
    claim = Claim(
        key="off_distribution_dpo_dense",
        statement=f"DPO on pairs off the policy's distribution updates more than {100 * HALF:.0f} % of the weights.",
        source=f"{PAPER} Table 5: 6.8 and 7.7 % unchanged without an SFT stage, against 81.4 % after one",
        test=(
            "The share of weights that DPO on off-distribution pairs changes by more than 1e-5 is above"
            f" {100 * HALF:.0f} %, at every learning rate of the grid; where rates disagree the claim is inconclusive."
            f" The NLL of these pairs under the init must be at least {NLL_GAP:g} nat a token above that of pairs of"
            " its own samples. The estimate is the share at the first rate."
        ),
        verdict="not tested",
        unit="% of all weights, changed",
    )
    contrast = data_contrasts(results).get("dpo")
    if contrast is None:
        return untested(claim, "the grid does not train DPO on pairs both in and off the policy's distribution")
    gap = nll_gap(results, contrast.inside, contrast.outside)
    if not gap >= NLL_GAP:
        found = "is not known" if math.isnan(gap) else f"is {gap:+.2f} nats a token".replace("-", "−")
        return untested(claim, f"the NLL of its off-distribution pairs, above that of the others, {found}")
    return _share(claim, results, contrast.outside, _Above(HALF, unchanged=False))


class _Above(NamedTuple):
    """A share of weights must be above a limit: that of those that are ``unchanged``, or of the others."""

    limit: float
    unchanged: bool


def _share(claim: Claim, results: Results, cells: list[Cell], wanted: _Above) -> Claim:
    """Judge whether the share of weights that changed at 1e-5, or that did not, is as ``wanted`` at every rate."""
    found: dict[str, Estimate] = {}
    used: list[Cell] = []
    for level, at in by_rate(results.grid).items():
        shares = [share for cell in cells for share in values_by_seed(results, at | cell, TOLERANT_DENSITY).values()]
        if shares:
            found[level] = t_interval(1 - share if wanted.unchanged else share for share in shares)
            used += [at | cell for cell in cells]
    if not found:
        return untested(claim, "the grid has no such runs, or none has finished")
    note = "; ".join(f"{100 * each.mean:.1f} % at {level}" for level, each in found.items())
    judgement = agreed(above(each, wanted.limit) for each in found.values())
    return decided(claim, judgement, in_points(next(iter(found.values()))), note, runs_used(results, used))


def _cells(grid: Grid) -> tuple[list[Cell], list[Cell]]:
    """The levels of RL, and those of SFT on gold data."""
    known = roles.methods(grid)
    return [cell for cell, kind in known if kind.split("/")[0] in RL], [cell for cell, kind in known if kind == GOLD]


def _rate(results: Results, cells: list[Cell]) -> float:
    return next((float(each["lr"].iloc[0]) for cell in cells if len(each := runs_of(results, cell))), math.nan)


def _gains(results: Results, cells: list[Cell]) -> dict[int, list[tuple[float, float]]]:
    """Return, by seed, gain of accuracy and log odds of density of the runs of some cells."""
    found: dict[int, list[tuple[float, float]]] = {}
    for cell in cells:
        selected = runs_of(results, cell)
        for seed, gain, density, n in zip(
            selected["seed"], accuracy_change(selected, "greedy"), selected[DENSITY], selected["n"], strict=True
        ):
            if not math.isnan(gain):
                found.setdefault(int(seed), []).append((float(gain), logit(density, n)))
    return found


def _distinct(cells: list[Cell]) -> list[Cell]:
    return list({repr(sorted(cell.items())): cell for cell in cells}.values())
