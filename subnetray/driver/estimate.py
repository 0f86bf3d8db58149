"""How long runs take: measured on this machine where some have finished, else a prior for the embedded model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from subnetray.config import EmbeddedModel, RunConfig
from subnetray.grid.plan import Run

# Seconds on one core of two busy ones: what every run costs, and what a sequence of one step costs (a DPO pair is two).
_FIXED_S = 0.6
_SEQUENCE_S = {
    "grpo": 0.29e-3,
    "rloo": 0.34e-3,
    "ppo": 0.34e-3,
    "prime": 0.71e-3,
    "raft": 0.27e-3,
    "raft_plus_plus": 0.32e-3,
    "sft": 0.22e-3,
    "dpo": 0.40e-3,
    "orpo": 0.42e-3,
    "simpo": 0.44e-3,
    "kto": 0.57e-3,
}


def cost(config: RunConfig) -> float:
    """Relative cost of a run; seconds for the embedded model."""
    algorithm = config.algorithm
    return _FIXED_S + _SEQUENCE_S[algorithm.name] * algorithm.steps * algorithm.batch_size


def seconds(
    pending: Sequence[Run], done: Sequence[Run], took: Callable[[Run], float | None], at_once: int
) -> float | None:
    """Wall-clock that the ``pending`` runs take, ``at_once`` at a time; None where nothing is known of such a model."""
    ratios = [known / cost(run.config) for run in done if (known := took(run)) is not None]
    if not ratios and not all(isinstance(run.config.model, EmbeddedModel) for run in pending):
        return None
    scale = statistics.median(ratios) if ratios else 1.0
    return scale * sum(cost(run.config) for run in pending) / at_once
