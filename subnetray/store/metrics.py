"""Declare the metrics of a step, each once: its name in ``metrics.jsonl``, its section, and which value is the best.

Their keys, step metric and summaries in W&B follow from this file. What they mean is in ``docs/algorithms.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

STEP = "step"  # the optimizer step, which all others are drawn over
TRAIN, ROLLOUT, UPDATE, TIME = "train", "rollout", "update", "time"


@dataclass(frozen=True)
class Metric:
    """One metric of a step. ``best``: ``min`` or ``max`` where one end of its range is what one trains for."""

    name: str
    section: str
    best: str = ""

    @property
    def key(self) -> str:
        """Return what a tracker calls it: its section and its name."""
        return f"{self.section}/{self.name}"


def _of(section: str, *names: str, best: str = "") -> tuple[Metric, ...]:
    return tuple(Metric(name, section, best) for name in names)


METRICS = (
    *_of(TRAIN, "loss", "value_loss", "prm_loss", best="min"),
    *_of(TRAIN, "token_accuracy", "prm_accuracy", "preference_accuracy", "preference_margin", best="max"),
    *_of(TRAIN, "lr", "grad_norm", "grad_norm_masked", "kl", "entropy", "clip_share", "tokens"),
    *_of(TRAIN, "preference_reward_chosen", "preference_reward_rejected"),
    *_of(ROLLOUT, "reward", "process_reward", best="max"),
    *_of(ROLLOUT, "reward_std", "zero_advantage_share", "completion_length", "truncated_share", "rollout_lag"),
    *_of(ROLLOUT, "engine_ratio_mean", "engine_ratio_min", "engine_ratio_max"),
    *_of(ROLLOUT, "engine_logp_gap_mean", "engine_logp_gap_max"),
    *_of(UPDATE, "density", "density_step", "density_ever", "update_norm", "step_norm", "coherence"),
    *_of(UPDATE, "update_norm_held", "beyond_threshold", "delta_q50", "delta_q90", "delta_q99"),
    *_of(UPDATE, "threshold_q50", "threshold_q90", "threshold_q99", "threshold_step_q50"),
    *_of(TIME, "seconds"),
    *_of(TIME, "tokens_per_s", best="max"),
)
_KEYS = {metric.name: metric.key for metric in METRICS}


def key(name: str) -> str:
    """The key of a metric of ``metrics.jsonl`` or ``time.jsonl``; one that is not declared is among training's."""
    return name if name == STEP else _KEYS.get(name, f"{TRAIN}/{name}")
