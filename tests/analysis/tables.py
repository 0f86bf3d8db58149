"""Made-up tables of a small sweep, for tests of tables and reports."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from subnetray.config import Factor, Grid
from subnetray.grid.design import baseline, expand
from subnetray.store.columns import RESERVED

Cell = Mapping[str, str]
Run = Mapping[Any, Any]  # a row of the table of runs


def make_grid(seeds: Sequence[int] = (0, 1, 2), **changes: Any) -> Grid:
    """A grid whose names differ from those of the project's own grids."""
    factors = {
        "rate": Factor(
            "learning rate",
            "slow",
            {"slow": ["algorithm.lr=1e-6"], "fast": ["algorithm.lr=1e-4"]},
        ),
        "way": Factor(
            "the algorithm",
            "rl",
            {
                "rl": ["algorithm=grpo"],
                "copy": ["algorithm=sft", "algorithm.data=gold"],
                "own": ["algorithm=sft", "algorithm.data=rejection"],
            },
        ),
        "limit": Factor(
            "gradient clipping",
            "yes",
            {"yes": ["algorithm.max_grad_norm=1.0"], "no": ["algorithm.max_grad_norm=null"]},
        ),
    }
    values: dict[str, Any] = {
        "name": "made_up",
        "about": "What if?",
        "seeds": list(seeds),
        "factors": factors,
        "one_at_a_time": ["limit", "way"],
        "crossed": [{"way": ["rl", "copy"], "rate": ["slow", "fast"]}],
    }
    return Grid(**(values | changes))


def run_id(cell: Cell, seed: int) -> str:
    """A run's identity: the same for the same cell and seed."""
    return hashlib.sha256(repr((sorted(cell.items()), seed)).encode()).hexdigest()[:12]


# Columns that tests name where they are about them.
_LATER = ("density_", "kl_", "entropy", "completion", "truncated", "equal", "bound")


def make_runs(
    grid: Grid,
    density: Callable[[Cell, int], float],
    accuracy: Callable[[Cell, int], float] = lambda cell, seed: 0.6,
    **changes: Callable[[Cell, int], Any],
) -> pd.DataFrame:
    """One finished run for each cell and seed; ``accuracy`` is after training, 0.5 is before."""
    rows = []
    for cell, seed in itertools.product(expand(grid), grid.seeds):
        rate = 1e-4 if cell.get("rate") == "fast" else 1e-6
        row: dict[str, Any] = {
            **dict.fromkeys((name for name in RESERVED if not name.startswith(_LATER)), 0.0),
            **{"run_id": run_id(cell, seed), **cell, "seed": seed, "status": "done", "error": None},
            **{"model": "toy", "task": "sums", "algorithm": "grpo", "precision": "fp32_master"},
            **{"export_dtype": "bfloat16", "lr": rate, "init_hash": "a", "n": 1000, "steps": 10},
            **{"accuracy_greedy_before": 0.5, "accuracy_greedy_after": accuracy(cell, seed)},
            **{"accuracy_sampled_before": 0.4, "accuracy_sampled_after": 0.4, "eval_n": 64, "data_nll": 0.25},
            **{"density_bitwise": density(cell, seed), "density_1e-05": density(cell, seed) / 2},
        }
        rows.append(row | {name: value(cell, seed) for name, value in changes.items()})
    return pd.DataFrame(rows)


def make_overlap(runs: pd.DataFrame, counts: Callable[[Run, Run], tuple[int, int, int, float]]) -> pd.DataFrame:
    """One row for every pair of runs; ``counts`` gives k1, k2, k12, and what ULP and joint null expect; n is 1000."""
    columns = ["run_a", "run_b", "same_init", "n", "k1", "k2", "k12", "o1", "o2", "jaccard", "kappa"]
    nulls = ("uniform", "tensor", "ulp", "joint")
    columns += [f"{null}_{what}" for null in nulls for what in ("expected", "excess", "odds_ratio")]
    columns += ["margins_expected", "margins_excess", "sign_agreement", "cosine", "agreement_n"]
    columns += ["distance_a", "distance_b", "equal_1e-05", "equal_0.0001"]
    columns += [f"equal_inside_{tau}_{side}" for tau in ("1e-05", "0.0001") for side in "ab"]
    rows = []
    for a, b in itertools.combinations(runs.to_dict("records"), 2):
        k1, k2, k12, ulp = counts(a, b)
        n = 1000
        uniform = k1 * k2 / n
        rows.append(
            {
                **{
                    "run_a": a["run_id"],
                    "run_b": b["run_id"],
                    "same_init": True,
                    "n": n,
                    "k1": k1,
                    "k2": k2,
                    "k12": k12,
                },
                **{"o1": k12 / k1, "o2": k12 / k2, "jaccard": k12 / (k1 + k2 - k12), "kappa": 0.5},
                **{"uniform_expected": uniform, "uniform_excess": k12 - uniform, "uniform_odds_ratio": 4.0},
                **{"ulp_expected": ulp, "ulp_excess": k12 - ulp, "ulp_odds_ratio": 2.0},
                **{"joint_expected": ulp, "joint_excess": k12 - ulp, "joint_odds_ratio": 1.5},
                **{"tensor_expected": 0.8 * ulp, "tensor_excess": k12 - 0.8 * ulp, "tensor_odds_ratio": 3.0},
                **{"margins_expected": 0.9 * ulp, "margins_excess": k12 - 0.9 * ulp},
                **{"sign_agreement": 0.75, "cosine": -0.5, "agreement_n": k12},
                **{"distance_a": 1.2, "distance_b": 1.2, "equal_1e-05": 0.7, "equal_0.0001": 1.0},
                **{"equal_inside_1e-05_a": 0.5, "equal_inside_1e-05_b": 0.3},
                **{"equal_inside_0.0001_a": 1.0, "equal_inside_0.0001_b": 1.0},
            }
        )
    return pd.DataFrame(rows, columns=columns)


def is_baseline(grid: Grid, cell: Cell) -> bool:
    """Return whether a cell is the grid's baseline."""
    return dict(cell) == baseline(grid)
