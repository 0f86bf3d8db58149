"""RLOO: a sequence's advantage is its reward less the mean reward of the others in its group."""

from __future__ import annotations

from transformers import Trainer
from trl import RLOOConfig

from subnetray.algorithms.shared.rollouts import group_arguments, trainer_parts
from subnetray.algorithms.shared.setting import Setting
from subnetray.algorithms.shared.whole_sequences import EngineRLOOTrainer


def build(setting: Setting) -> Trainer:
    """Return a trainer of −min(ρA, clip(ρ)A), A = r − mean of the others' r, ρ a ratio of sequence probabilities."""
    return EngineRLOOTrainer(setting, args=RLOOConfig(**group_arguments(setting)), **trainer_parts(setting))
