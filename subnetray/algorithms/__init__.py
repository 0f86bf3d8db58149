"""The algorithms: each makes a trainer of TRL from a setting; one file an algorithm, what they share in ``setting``."""

from __future__ import annotations

from collections.abc import Callable

from transformers import Trainer

from subnetray.algorithms import dpo, grpo, sft
from subnetray.algorithms.setting import Setting

_BUILDERS: dict[str, Callable[[Setting], Trainer]] = {"grpo": grpo.build, "sft": sft.build, "dpo": dpo.build}


def build(setting: Setting) -> Trainer:
    """Return the trainer that runs the algorithm of ``setting.config``, its training data prepared."""
    return _BUILDERS[setting.config.algorithm.name](setting)


__all__ = ["Setting", "build"]
