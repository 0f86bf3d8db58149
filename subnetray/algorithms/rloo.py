"""RLOO: a sequence's advantage is its reward less the mean reward of the others in its group."""

from __future__ import annotations

from typing import Any

from transformers import Trainer
from trl import RLOOConfig, RLOOTrainer

from subnetray.algorithms.shared.rollouts import EngineRollouts, group_arguments, trainer_parts
from subnetray.algorithms.shared.setting import Setting


class _EngineRLOOTrainer(EngineRollouts, RLOOTrainer):
    """TRL's trainer; the ratio that it clips is one of whole sequences, between its own probabilities alone."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self.encode(prompts), None, {}

    def generate(self, prompts: list[list[int]], **_: Any) -> tuple[list[list[int]], list[list[int]], None, None]:
        """Called by TRL for the completions, as it would call an engine of its own."""
        return prompts, self.sample(prompts).completions, None, None


def build(setting: Setting) -> Trainer:
    """Return a trainer of −min(ρA, clip(ρ)A), A = r − mean of the others' r, ρ a ratio of sequence probabilities."""
    return _EngineRLOOTrainer(setting, args=RLOOConfig(**group_arguments(setting)), **trainer_parts(setting))
