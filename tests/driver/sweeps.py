"""A made-up sweep for the driver's tests: real plans, masks and results, no training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from subnetray.config import SweepConfig
from subnetray.config.compose import Composer
from subnetray.grid import Plan, Run, plan
from subnetray.store import results
from subnetray.subnetwork import Mask

OVERRIDES = ("+grid=smoke", "grid.seeds=[0,1]")


def make_plan(*overrides: str) -> Plan:
    """The smoke grid with two seeds."""
    return plan(Composer(), [*OVERRIDES, *overrides])[1]


def make_sweep(*overrides: str) -> SweepConfig:
    """Return what a command line with the smoke grid composes to."""
    return plan(Composer(), [*OVERRIDES, *overrides])[0]


def make_result(run: Run, **changes: Any) -> dict[str, Any]:
    """What a finished run writes."""
    score = {"reward": 0.5, "accuracy": 0.5, "accuracy_se": 0.1, "n": 64}
    result: dict[str, Any] = {
        "run_id": run.run_id,
        "status": "done",
        "error": None,
        "export_dtype": "bfloat16",
        "init_hash": "a",
        "final_hash": "b",
        "steps": 6,
        "sum_lr": 6e-5,
        "evaluation": {
            "before": {"greedy": score, "sampled": score},
            "after": {"greedy": {**score, "accuracy": 0.75}, "sampled": {**score, "reward": 0.625}},
        },
        "data": {"nll": 0.25, "examples": 10, "tokens": 40},
        "n": 100,
        "density": {
            "bitwise": 0.25,
            "abs": {f"{tau:g}": 0.25 for tau in run.config.measurement.tolerances},
            "ulps": {"2": 0.2, "4": 0.1},
        },
    }
    counts: dict[str, Any] = {"cancelled_of_n": 0.0625, "cancelled_of_ever": 0.2}
    result |= {
        "views": {
            "density": {"bfloat16": 0.25, "float16": 0.5, "float32": 1.0},
            "energy": {"50": 0.01, "90": 0.1, "99": 0.5},
            "participation": 0.3,
            "reachable": 0.75,
        },
        "dynamics": {
            "counts": counts,
            "at_snapshots": {name: value / 2 for name, value in counts.items()},
            "density_step": 0.03125,
            "density_ever": 0.3125,
            **{"coherence": 0.5, "coherence_held": 0.375, "growth": 0.9, "growth_held": None},
        },
    }
    return result | changes


def make_restricted_plan() -> Plan:
    """One cell with two seeds, in an arm of what the first level of the smoke grid is, which is no cell."""
    words = ["+grid=single", "grid.seeds=[0,1]", "algorithm.steps=6", "algorithm.batch_size=32"]
    return plan(Composer(), [*words, "subnetwork.mask=random"])[1]


def write_result(directory: Path, run: Run, **changes: Any) -> None:
    """Put a result where the driver looks for it, with files that a run would have left, of no content."""
    path = directory / "runs" / run.run_id
    path.mkdir(parents=True, exist_ok=True)
    result = make_result(run, **changes)
    (path / results.CONFIG).write_text(yaml.safe_dump(run.config.to_dict()))
    if result["status"] == "done":
        for name in (results.METRICS, results.MASK, results.DELTA):
            if not (path / name).exists():
                (path / name).write_text(name)
        (path / results.TIME).write_text(json.dumps({"seconds": {"train": 1.5, "total": 2.0}}))
    results.write(path, result)


def write_init(directory: Path, seed: int = 0) -> dict[str, Tensor]:
    """Weights in the layout of ``save_pretrained``."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        "model.a.weight": torch.randn(40, 30, generator=generator).bfloat16(),
        "model.b.bias": torch.randn(17, generator=generator).bfloat16(),
    }
    directory.mkdir(parents=True)
    save_file(weights, directory / "model.safetensors")
    return weights


def random_masks(like: dict[str, Tensor], densities: Sequence[float]) -> list[Mask]:
    """Independent masks of the given densities."""
    generator = torch.Generator().manual_seed(1)
    return [
        Mask.from_bools(
            {name: torch.rand(tensor.shape, generator=generator) < density for name, tensor in like.items()}
        )
        for density in densities
    ]
