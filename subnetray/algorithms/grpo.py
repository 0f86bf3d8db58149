"""GRPO: TRL's trainer, its rollouts drawn by the sweep's engines."""

from __future__ import annotations

from typing import Any

from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer

from subnetray.algorithms.rollouts import EngineRollouts, group_arguments, trainer_parts
from subnetray.algorithms.setting import Setting


class _EngineGRPOTrainer(EngineRollouts, GRPOTrainer):
    """Weighs tokens by the ratio between its own probabilities and those that the engine drew them with."""

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        super().__init__(setting, rollout_func=self._roll_out, **kwargs)

    def _roll_out(self, prompts: list[str], _: GRPOTrainer) -> dict[str, list[Any]]:
        ids = self.encode(prompts)
        samples = self.sample(ids)
        return {"prompt_ids": ids, "completion_ids": samples.completions, "logprobs": samples.logprobs}


def build(setting: Setting) -> Trainer:
    """Return a trainer whose every step samples ``batch_size`` / ``group_size`` prompts, ``group_size`` times each."""
    return _EngineGRPOTrainer(
        setting,
        args=GRPOConfig(**group_arguments(setting), loss_type=setting.config.algorithm.loss),
        **trainer_parts(setting),
    )
