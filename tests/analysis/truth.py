"""Simulated sweeps in which the truth is known: how often is a claim's interval, or its verdict, wrong?

    python -m tests.analysis.truth --sweeps 500

In each world one claim's effect lies exactly at the limit that its test states. A truth a little beyond makes one of
the two decided verdicts wrong, a truth a little before it the other: neither may come in more than 5 % of sweeps, and
93 to 97 % of intervals must hold the truth. Values are the truth, an effect of the seed that all cells of it share, and
one of the run, which are normal. Exit code 1 where a share is farther off than chance has it once in 1,000 times.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from subnetray.analysis import roles
from subnetray.analysis.claims import (
    Judge,
    ceiling,
    distribution,
    factors,
    interactions,
    parts,
    published,
    rank,
    restricted,
    sparsity,
    stages,
)
from subnetray.analysis.pairs import label_pairs
from subnetray.analysis.results import Of, Results
from subnetray.analysis.verdicts import Claim
from subnetray.config import Grid
from subnetray.config.compose import Composer
from subnetray.grid import plan
from subnetray.nulls import STRONGEST
from tests.analysis.tables import Cell, Run, make_overlap, make_runs

SEED_SD, RUN_SD = 0.01, 0.005
N = 10**6
WRONG = 0.05  # of verdicts at the limit, in either direction
COVERED = 0.95
_RARE = 0.001  # a share as far off by chance alone

Value = Callable[[Cell], float]


@dataclass(frozen=True)
class World:
    """One claim whose effect is at its limit; ``estimate`` is the true value of what it estimates, in its unit.

    ``density`` and ``columns``: the truth by cell. ``share``: of the room that the nulls leave, taken by every pair.
    ``covered``: whether its interval is one of a single contrast; of the largest of several it is not.
    """

    key: str
    judge: Judge
    estimate: float
    grid: str = "origins"
    density: Value = lambda cell: 0.5
    columns: Mapping[str, Value] = field(default_factory=dict)
    share: float | None = None
    covered: bool = True
    noisy: tuple[str, ...] = ()  # columns that runs and seeds move besides densities


@dataclass(frozen=True)
class Outcome:
    """The shares of simulated sweeps whose interval holds the truth, and whose verdict was for or against the claim."""

    key: str
    sweeps: int
    covered: float
    supported: float
    against: float

    def problems(self, world: World) -> list[str]:
        """Say which share lies outside of what it should be by more than chance."""
        found = []
        for name, share in (("for", self.supported), ("against", self.against)):
            if _at_least(round(share * self.sweeps), self.sweeps, WRONG) < _RARE:
                found.append(f"{self.key}: {100 * share:.1f} % of verdicts at the limit were {name} it")
        missed = self.sweeps - round(self.covered * self.sweeps)
        few = _at_least(missed, self.sweeps, 1 - COVERED + 0.02) < _RARE
        many = _at_least(self.sweeps - missed, self.sweeps, COVERED + 0.02) < _RARE
        if world.covered and (few or many):
            found.append(f"{self.key}: {100 * self.covered:.1f} % of intervals held the truth")
        return found


def _at_least(count: int, n: int, share: float) -> float:
    """Return the chance of ``count`` or more of ``n`` where each comes with probability ``share``."""
    return math.fsum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count, n + 1))


def _rates(cell: Cell) -> int:
    return {"1e-6": -1, "1e-5": 0, "1e-4": 1}[cell["learning_rate"]]


def _off(cell: Cell) -> bool:
    return cell["method"] in ("sft_gold", "dpo_off_policy")


def _sft(cell: Cell) -> bool:
    return cell["method"] == "sft_gold"


def _layers(runs: pd.DataFrame) -> Of:
    """Two layers and the norms of every run, changed as columns of their names say."""
    of = {
        run["run_id"]: [
            {"layer": 0, "module": "up", "n": N, "changed_bitwise": round(N * run.get("density_layer_0", 0.5))},
            {"layer": 1, "module": "up", "n": N, "changed_bitwise": round(N * run.get("density_layer_1", 0.5))},
            {"layer": 1, "module": "norm", "n": N, "changed_bitwise": 0, "changed_abs": {"1e-05": moved}},
        ]
        for run in runs.to_dict("records")
        for moved in (round(N * run.get("density_norms", 0.5)),)
    }
    return lambda run_id: of[run_id]


def _only(one: Callable[[Results], Claim]) -> Judge:
    return lambda results: [one(results)]


def _half_clipped(run_id: str) -> list[dict[str, Any]]:
    return [{"grad_norm": norm} for norm in (0.5, 1.5)]


_LOGIT = 0.02  # a step on the logit scale in the world of variances, where rates and algorithms move it alike
_NLL: Mapping[str, Value] = {"data_nll": lambda cell: 2.25 if _off(cell) else 0.25}

WORLDS = (
    World(
        "rl_sparser_than_sft",
        lambda results: sparsity.claims(results)[:1],
        100 * sparsity.SPARSER_MARGIN,
        density=lambda cell: 0.5 + 0.2 * _rates(cell) + sparsity.SPARSER_MARGIN * (cell["method"] == "sft_gold"),
    ),
    World(
        "rl_updates_5_to_30_percent",
        lambda results: sparsity.claims(results)[1:],
        30.0,
        columns={"density_1e-05": lambda cell: 0.3},
    ),
    World(
        "sparse_in_bf16_not_in_fp32",
        _only(factors._precision),
        100 * factors.SPARSITY_MARGIN,
        density=lambda cell: 0.98 if cell["dtype"] == "fp32" else 0.98 - factors.SPARSITY_MARGIN,
    ),
    World(
        "limited_impact_of_clip",
        _only(factors._clip),
        100 * factors.EQUIVALENCE_MARGIN,
        density=lambda cell: 0.5 + factors.EQUIVALENCE_MARGIN * (cell["clip"] == "off"),
        covered=False,  # 90 %
    ),
    World(
        "limited_impact_of_kl",
        _only(factors._kl),
        100 * factors.EQUIVALENCE_MARGIN,
        density=lambda cell: 0.5 - factors.EQUIVALENCE_MARGIN * (cell["kl"] == "1"),
        columns={"kl_to_init": lambda cell: 0.01 if cell["kl"] == "0" else 0.002},
        covered=False,
    ),
    World("more_steps_denser", factors.more_steps, 0.0),
    World(
        "in_distribution_sparser",
        lambda results: distribution.claims(results)[:1],
        100 * sparsity.SPARSER_MARGIN,
        density=lambda cell: 0.5 + sparsity.SPARSER_MARGIN * _off(cell),
        columns=_NLL,
    ),
    World(
        "in_distribution_is_the_main_cause",
        lambda results: distribution.claims(results)[1:],
        0.0,
        density=lambda cell: 0.5 + 0.03 * _off(cell) + 0.03 * _rates(cell),
        columns=_NLL,
    ),
    World(
        "unchanged_were_never_changed",
        _only(factors._never),
        50.0,
        columns={"density_ever": lambda cell: 0.75},
    ),
    World(
        "one_step_changes_little",
        _only(factors._one_step),
        98.0,
        columns={"density_step": lambda cell: 0.02},
    ),
    World(
        "learning_rate_explains_more_than_algorithm",
        factors.variance,
        0.0,
        density=lambda cell: _inverse(
            _LOGIT * (_rates(cell) + {"grpo": -1, "sft_gold": 1}.get(cell["method"], 0)) * 10
        ),
        covered=False,  # of a ratio of sums of squares, whose jackknife is approximate
    ),
    World(
        "rl_sparser_than_sft_at_published_rates",
        lambda results: published.claims(results)[:1],
        100 * sparsity.SPARSER_MARGIN,
        density=lambda cell: 0.5 + 0.2 * _rates(cell) + (sparsity.SPARSER_MARGIN - 0.2) * _sft(cell),
    ),
    World(
        "rl_sparser_than_sft_at_matched_gain",
        lambda results: published.claims(results)[1:2],
        100 * sparsity.SPARSER_MARGIN,
        density=lambda cell: 0.5 + 0.2 * _rates(cell) + sparsity.SPARSER_MARGIN * _sft(cell),
        columns={"accuracy_greedy_after": lambda cell: 0.7 + 0.1 * _rates(cell)},
    ),
    World(
        "rejection_sampling_sparse",
        lambda results: published.claims(results)[2:3],
        70.0,
        columns={"density_1e-05": lambda cell: 0.3},
    ),
    World(
        "off_distribution_dpo_dense",
        lambda results: published.claims(results)[3:],
        50.0,
        columns={"density_1e-05": lambda cell: 0.5, **_NLL},
    ),
    World(
        "sft_stage_not_needed",
        lambda results: stages.claims(results)[:1],
        -100 * stages.SAME,
        density=lambda cell: 0.5 - stages.SAME * (cell["init"] == "after_sft"),
        columns={"accuracy_greedy_before": lambda cell: 0.6 if cell["init"] == "after_sft" else 0.5},
    ),
    World(
        "steps_matter_early_and_then_less",
        lambda results: stages.claims(results)[1:],
        0.0,
        density=lambda cell: {"20": 0.46, "60": 0.5, "180": 0.62}[cell["train_steps"]],
    ),
    World(
        "layers_alike",
        lambda results: parts.claims(results)[:1],
        100 * parts.ALIKE,
        columns={
            "density_layer_0": lambda cell: 0.5 + parts.ALIKE,
            "density_layer_1": lambda cell: 0.5 - parts.ALIKE,
        },
        covered=False,  # of the largest of several, 90 %
    ),
    World(
        "norms_hardly_move",
        lambda results: parts.claims(results)[1:],
        100 * parts.HARDLY,
        columns={"density_norms": lambda cell: parts.HARDLY},
    ),
    World(
        "updates_of_full_rank",
        lambda results: rank.claims(results)[:1],
        100 * rank.NEARLY,
        columns={"rank_numerical": lambda cell: rank.NEARLY},
        noisy=("rank_numerical",),
    ),
    World(
        "updates_concentrated",
        lambda results: rank.claims(results)[1:],
        100 * rank.CONCENTRATED,
        columns={
            "rank_energy_99": lambda cell: 0.9 - rank.CONCENTRATED,
            "rank_energy_99_shuffled": lambda cell: 0.9,
        },
        noisy=("rank_energy_99",),
    ),
    World(
        "subnetwork_beats_full",
        lambda results: restricted.claims(results)[:1],
        0.0,
        grid="subnetwork",
        # At the limit in one of its contexts: a counterexample in any would refute the claim.
        columns={
            "accuracy_greedy_after": lambda cell: 0.6 + 0.1 * (cell["mask"] == "oracle" and cell["method"] != "grpo")
        },
        noisy=("accuracy_greedy_after",),
        covered=False,  # of the smallest of several
    ),
    World(
        "effect_of_method_does_not_depend_on_learning_rate",
        _only(lambda results: interactions._independent(results, roles.METHOD, roles.LEARNING_RATE)),
        math.log(interactions.ODDS),
        grid="factorial",
        density=lambda cell: _inverse(
            # Of one algorithm against another: a third that is as far would make two that can refute the claim.
            math.log(interactions.ODDS)
            * {"sft": 1.0, "dpo": 0.5}.get(cell["method"], 0.0)
            * (cell["learning_rate"] == "1e-5")
        ),
        covered=False,  # of the largest of several, 90 %
    ),
    World(
        "seeds_overlap_beyond_joint",
        _only(lambda results: factors._overlap(results, STRONGEST)),
        100 * ceiling.OVERLAP_MARGIN,
        share=ceiling.OVERLAP_MARGIN,
    ),
    World(
        "all_changed_overlap_beyond_joint",
        lambda results: ceiling.claims(results)[1:],
        100 * ceiling.OVERLAP_MARGIN,
        grid="overlap",
        share=ceiling.OVERLAP_MARGIN,
    ),
)


def _inverse(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def simulate(world: World, sweeps: int) -> Outcome:
    """Judge ``sweeps`` made-up sweeps of a world, the same in every run of this."""
    rng = np.random.default_rng(sum(world.key.encode()))
    grid = plan(Composer(), [f"+grid={world.grid}"])[1].grid
    skeleton = make_runs(
        grid,
        lambda cell, seed: world.density(cell),
        lr=lambda cell, seed: float(cell.get("learning_rate", "1e-5")),
        steps=lambda cell, seed: int(cell.get("train_steps", "60")),
        n=lambda cell, seed: N,
        **{name: lambda cell, seed, value=value: value(cell) for name, value in world.columns.items()},
    )
    noisy = ["density_bitwise", *(name for name in world.columns if name.startswith("density_")), *world.noisy]
    pairs = _pairs(grid, skeleton if world.share is not None else skeleton.head(0))
    covered = supported = against = 0
    for _ in range(sweeps):
        runs = skeleton.copy()
        by_seed = {seed: rng.normal(0, SEED_SD) for seed in grid.seeds}
        for name in noisy:
            scale = 0.1 if name in ("density_step", "rank_numerical") else 1.0  # near 0, and near 1
            noise = runs["seed"].map(by_seed).to_numpy() + rng.normal(0, RUN_SD, len(runs))
            runs[name] = np.clip(runs[name].astype(float) + scale * noise, 1e-6, 1 - 1e-6)
        if world.share is not None:
            pairs = _with_noise(pairs, world.share, by_seed, rng)
        (claim,) = world.judge(Results(grid, runs, pairs, _half_clipped, _layers(runs)))
        assert claim.verdict != "not tested", claim.note
        covered += claim.estimate.low <= world.estimate <= claim.estimate.high
        supported += claim.verdict == "supported"
        against += claim.verdict in ("refuted", "smaller than the margin")
    return Outcome(world.key, sweeps, covered / sweeps, supported / sweeps, against / sweeps)


def _pairs(grid: Grid, runs: pd.DataFrame) -> pd.DataFrame:
    def count(a: Run, b: Run) -> tuple[int, int, int, float]:
        return 500, 500, 300, 250.0

    return label_pairs(grid, runs, make_overlap(runs, count))


def _with_noise(
    pairs: pd.DataFrame, share: float, by_seed: Mapping[int, float], rng: np.random.Generator
) -> pd.DataFrame:
    """Make overlaps that take ``share`` of the room, but for effects of both seeds and of the pair."""
    taken = share + pairs["a.seed"].map(by_seed) + pairs["b.seed"].map(by_seed) + rng.normal(0, RUN_SD, len(pairs))
    expected = pairs[f"{STRONGEST}_o1"]
    return pairs.assign(o1=expected + taken * (1 - expected))


def main() -> int:
    """Print a line a claim; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=500, help="at most 1000")
    parser.add_argument("--claims", default="", help="of these alone")
    options: Any = parser.parse_args()
    problems = []
    print(f"{'claim, its effect at its limit':46} sweeps  covered      for  against")
    for world in WORLDS:
        if not options.claims or world.key in options.claims.split(","):
            found = simulate(world, options.sweeps)
            covered = f"{100 * found.covered:6.1f} %" if world.covered else "      –"
            verdicts = f"{100 * found.supported:6.1f} % {100 * found.against:6.1f} %"
            print(f"{world.key:46} {found.sweeps:6} {covered:>8} {verdicts}", flush=True)
            problems += found.problems(world)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
