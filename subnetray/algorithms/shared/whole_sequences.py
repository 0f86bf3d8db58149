"""RLOO's trainer of TRL, its rollouts drawn by the sweep's engines."""

from __future__ import annotations

from typing import Any

from trl import RLOOTrainer

from subnetray.algorithms.shared import trl_patches
from subnetray.algorithms.shared.rollouts import EngineRollouts
from subnetray.algorithms.shared.setting import Setting


class EngineRLOOTrainer(EngineRollouts, RLOOTrainer):
    """TRL's trainer; the ratio that it clips is one of whole sequences, between its own probabilities alone."""

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        trl_patches.require("RLOOTrainer", "_tokenize_prompts")
        super().__init__(setting, **kwargs)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self.encode(prompts), None, {}

    def generate(self, prompts: list[list[int]], **_: Any) -> tuple[list[list[int]], list[list[int]], None, None]:
        """Called by TRL for the completions, as it would call an engine of its own."""
        return prompts, self.sample(prompts).completions, None, None
