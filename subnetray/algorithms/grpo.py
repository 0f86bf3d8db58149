"""GRPO: a sequence's advantage is its reward relative to its group's."""

from __future__ import annotations

from transformers import Trainer
from trl import GRPOConfig

from subnetray.algorithms.shared.on_policy import EngineGRPOTrainer
from subnetray.algorithms.shared.rollouts import group_arguments, trainer_parts
from subnetray.algorithms.shared.setting import Setting


def build(setting: Setting) -> Trainer:
    """Return a trainer whose every step samples ``batch_size`` / ``group_size`` prompts, ``group_size`` times each."""
    return EngineGRPOTrainer(
        setting,
        args=GRPOConfig(**group_arguments(setting), loss_type=setting.config.algorithm.loss),
        **trainer_parts(setting),
    )
