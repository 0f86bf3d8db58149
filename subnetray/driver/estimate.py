"""How long runs take: measured on this machine where some have finished, else a prior for the embedded model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from subnetray.config import EmbeddedModel, RunConfig
from subnetray.grid.plan import Run

_FIXED_S = 0.6  # on one core of two busy ones: what every run costs


def cost(config: RunConfig) -> float:
    """Relative cost of a run; seconds for the embedded model."""
    algorithm = config.algorithm
    return _FIXED_S + algorithm.SEQUENCE_S * algorithm.steps * algorithm.batch_size


def seconds(
    pending: Sequence[Run], done: Sequence[Run], took: Callable[[Run], float | None], at_once: int
) -> float | None:
    """Wall-clock that the ``pending`` runs take, ``at_once`` at a time; None where nothing is known of such a model."""
    ratios = [known / cost(run.config) for run in done if (known := took(run)) is not None]
    if not ratios and not all(isinstance(run.config.model, EmbeddedModel) for run in pending):
        return None
    scale = statistics.median(ratios) if ratios else 1.0
    return scale * sum(cost(run.config) for run in pending) / at_once
