"""The paper's headline: RL changes a small share of the weights, and a smaller one than SFT does."""

from __future__ import annotations

import math
from collections.abc import Sequence

from subnetray.analysis import roles
from subnetray.analysis.contrasts import mean_difference, runs_used
from subnetray.analysis.effects import TOLERANT_DENSITY, values_by_seed
from subnetray.analysis.intervals import t_interval
from subnetray.analysis.manipulation import FULL, has_room
from subnetray.analysis.paper import PAPER, UPDATED
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim, agreed, between, decided, exceeds, in_points, in_words, untested
from subnetray.config import Grid

SPARSER_MARGIN = 0.01  # of density: what an update must be sparser by
RL = frozenset(("grpo", "rloo", "ppo", "prime"))  # on the policy's own rollouts, with a reward
GOLD = "sft/gold"

Cell = dict[str, str]


def claims(results: Results) -> list[Claim]:
    """Both claims."""
    return [_sparser_than_sft(results), _share(results)]


def _sparser_than_sft(results: Results) -> Claim:
    claim = Claim(
        key="rl_sparser_than_sft",
        statement="RL makes sparser updates than SFT does, at the same learning rate.",
        source=f"{PAPER} section 3, where rates differ between the two",
        test=(
            f"Density of SFT on gold data minus that of RL, paired by seed, is more than {100 * SPARSER_MARGIN:.0f}"
            f" point at every learning rate that the grid trains both at and RL changes less than {100 * FULL:.0f} % of"
            " the weights at; where rates disagree the claim is inconclusive. The estimate is the mean over rates."
        ),
        verdict="not tested",
    )
    method = roles.factor_with(results.grid, roles.METHOD)
    if method is None:
        return untested(claim, "the grid does not vary the algorithm")
    ours = [cell for cell, kind in roles.methods(results.grid) if kind.split("/")[0] in RL]
    theirs = [cell for cell, kind in roles.methods(results.grid) if kind == GOLD]
    if not ours or not theirs:
        return untested(claim, "the grid does not train both RL and SFT on gold data")
    rates = by_rate(results.grid)
    differences = {level: mean_difference(results, _at(at, theirs), _at(at, ours)) for level, at in rates.items()}
    full = [
        level for level, by_seed in differences.items() if by_seed and not has_room(results, _at(rates[level], ours))
    ]
    differences = {level: by_seed for level, by_seed in differences.items() if by_seed and level not in full}
    if full and not differences:
        return untested(claim, f"RL changes all weights at {', '.join(full)}: SFT has no room to change more")
    if not differences:
        return untested(claim, "no seed has finished both RL and SFT at one learning rate")
    seeds = set.intersection(*map(set, differences.values()))
    means = [math.fsum(by_seed[seed] for by_seed in differences.values()) / len(differences) for seed in sorted(seeds)]
    found = {name: t_interval(by_seed.values()) for name, by_seed in differences.items()}
    return decided(
        claim,
        agreed(exceeds(estimate, SPARSER_MARGIN) for estimate in found.values()),
        in_points(t_interval(means)),
        "; ".join(f"{in_words(in_points(estimate))} at {name}" for name, estimate in found.items())
        + (f"; not counted, as RL changes all weights: {', '.join(full)}" if full else ""),
        runs_used(results, [cell for level in differences for cell in _at(rates[level], [*ours, *theirs])]),
    )


def _at(rate: Cell, methods: Sequence[Cell]) -> list[Cell]:
    return [rate | each for each in methods]


def by_rate(grid: Grid) -> dict[str, Cell]:
    """Return a cell for each learning rate, the baseline first; the baseline alone where the rate is no factor."""
    rate = roles.factor_with(grid, roles.LEARNING_RATE)
    if rate is None:
        return {"the baseline's": {}}
    levels = dict.fromkeys((grid.factors[rate].baseline, *grid.factors[rate].levels))
    return {level: {rate: level} for level in levels}


def _share(results: Results) -> Claim:
    low, high = UPDATED
    claim = Claim(
        key="rl_updates_5_to_30_percent",
        statement=f"RL updates {100 * low:.0f} to {100 * high:.0f} % of the weights.",
        source=f"{PAPER}, abstract and Table 1, which count changes of at most 1e-5 as none",
        test=(
            "The share of weights that RL changes by more than 1e-5 lies between the two, at every learning rate of the"
            " grid; where rates disagree the claim is inconclusive. The estimate is that at the baseline."
        ),
        verdict="not tested",
        unit="% of all weights",
    )
    method = roles.factor_with(results.grid, roles.METHOD)
    levels = [] if method is None else [results.grid.factors[method].baseline, *results.grid.factors[method].levels]
    ours = next(
        (each for each in levels if method and roles.kind(results.grid, method, each).split("/")[0] in RL), None
    )
    if method is None or ours is None:
        return untested(claim, "the grid does not say by a factor that it trains RL")
    cells = {level: at | {method: ours} for level, at in by_rate(results.grid).items()}
    shares = {
        level: t_interval(values_by_seed(results, cell, TOLERANT_DENSITY).values()) for level, cell in cells.items()
    }
    shares = {level: estimate for level, estimate in shares.items() if estimate.n}
    if not shares:
        return untested(claim, "no run of RL has finished")
    return decided(
        claim,
        agreed(between(estimate, low, high) for estimate in shares.values()),
        in_points(next(iter(shares.values()))),
        "; ".join(f"{100 * estimate.mean:.1f} % at {level}" for level, estimate in shares.items()),
        runs_used(results, cells.values()),
    )
