"""GRPO: a sequence's advantage is its reward relative to its group's."""

from __future__ import annotations

from transformers import Trainer
from trl import GRPOConfig

from subnetray.algorithms.on_policy import EngineGRPOTrainer
from subnetray.algorithms.rollouts import group_arguments, trainer_parts
from subnetray.algorithms.setting import Setting


def build(setting: Setting) -> Trainer:
    """Return a trainer whose every step samples ``batch_size`` / ``group_size`` prompts, ``group_size`` times each."""
    return EngineGRPOTrainer(
        setting,
        args=GRPOConfig(**group_arguments(setting), loss_type=setting.config.algorithm.loss),
        **trainer_parts(setting),
    )
