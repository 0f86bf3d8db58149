"""The grid ``origins`` with made-up densities, and the verdicts on its claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from subnetray.analysis.claims import claims
from subnetray.analysis.pairs import label_pairs
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim
from subnetray.config import Grid
from subnetray.config.compose import Composer
from subnetray.grid import plan
from tests.analysis.tables import Cell, Run, make_overlap, make_runs

ORIGINS = plan(Composer(), ["+grid=origins"])[1].grid
RATE = {"1e-6": -2.0, "1e-5": 0.0, "1e-4": 2.0}


def shifted(**effects: dict[str, float]) -> Callable[[Cell, int], float]:
    """Density 1/2 at the baseline, moved on the logit scale by each factor's levels, and a little by the seed."""

    def density(cell: Cell, seed: int) -> float:
        moves = {"learning_rate": RATE} | effects
        total = sum(by_level.get(cell.get(factor, ""), 0.0) for factor, by_level in moves.items())
        # A different little by seed and cell, or every interval would have no width.
        return 1 / (1 + math.exp(-total - 0.01 * math.sin(7 * seed + total)))

    return density


def off_distribution(cell: Cell) -> bool:
    return cell.get("method") in ("sft_gold", "dpo_off_policy") or cell.get("distribution") == "off"


def _tensor(layer: int | None, module: str, n: int, changed: int) -> dict[str, Any]:
    return {"layer": layer, "module": module, "n": n, "changed_bitwise": changed, "changed_abs": {"1e-05": changed}}


# What every run says of its tensors: half of each of two layers changed, and a tenth of the norms.
TENSORS: list[dict[str, Any]] = [
    *(_tensor(layer, "q", 1000, 500) for layer in (0, 1)),
    _tensor(1, "norm", 100, 10),
    _tensor(None, "embedding", 1000, 900),
]


def counts(a: Run, b: Run) -> tuple[int, int, int, float]:
    return 500, 500, 350, 300.0


def judge(
    density: Callable[[Cell, int], float],
    grid: Grid = ORIGINS,
    count: Callable[[Run, Run], tuple[int, int, int, float]] | None = None,
    clipped: float = math.nan,
    keep: Callable[[pd.DataFrame], Any] = lambda runs: runs["status"] == "done",
    **changes: Callable[[Cell, int], Any],
) -> dict[str, Claim]:
    # As the names of the levels say: data off the distribution are far from the policy, and penalties move its KL.
    manipulated: dict[str, Callable[[Cell, int], Any]] = {
        "data_nll": lambda cell, seed: 2.25 if off_distribution(cell) else 0.25,
        "kl_to_init": lambda cell, seed: {"0.1": 0.01, "1": 0.002}.get(cell.get("kl", "0"), 0.02),
    }
    runs = make_runs(
        grid,
        density,
        lr=lambda cell, seed: float(cell.get("learning_rate", "1e-5")),
        steps=lambda cell, seed: int(cell.get("train_steps", "60")),
        n=lambda cell, seed: 10**6,
        **(manipulated | changes),
    )
    runs = runs[keep(runs)]
    overlap = make_overlap(runs if count else runs.head(0), count or counts)
    pairs = label_pairs(grid, runs, overlap)
    norms = [] if math.isnan(clipped) else [{"grad_norm": 2.0 if i < 100 * clipped else 0.5} for i in range(100)]
    found = Results(grid, runs, pairs, lambda run_id: norms, lambda run_id: TENSORS)
    return {claim.key: claim for claim in claims(found)}
