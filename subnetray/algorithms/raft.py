"""RAFT and RAFT++: what the reward accepts is made likelier, and nothing else (arXiv 2304.06767, 2504.11343)."""

from __future__ import annotations

from torch import Tensor
from transformers import Trainer

from subnetray.algorithms.shared.advantages import positive_part
from subnetray.algorithms.shared.on_policy import TokenAdvantageTrainer, clipped_loss
from subnetray.algorithms.shared.rollouts import trainer_parts
from subnetray.algorithms.shared.setting import Setting


class _RAFTTrainer(TokenAdvantageTrainer):
    """Vanilla: no ratio to the policy that was sampled from."""

    def advantages(self, batch: dict[str, Tensor]) -> Tensor:
        # Without old log-probabilities TRL takes the present ones: a ratio of 1, whose gradient is that of log π.
        del batch["old_per_token_logps"]
        return positive_part(batch["scores"], batch["completion_mask"])


class _RAFTPlusPlusTrainer(TokenAdvantageTrainer):
    """With that ratio, clipped: it differs from vanilla from the second step on a batch of rollouts on."""

    def advantages(self, batch: dict[str, Tensor]) -> Tensor:
        return positive_part(batch["scores"], batch["completion_mask"])


def build(setting: Setting) -> Trainer:
    """Return a trainer of −max(r, 0) log π (``raft``) or −min(ρA, clip(ρ)A) with A = max(r, 0) (``raft_plus_plus``)."""
    trainer = _RAFTTrainer if setting.config.algorithm.name == "raft" else _RAFTPlusPlusTrainer
    return trainer(setting, args=clipped_loss(setting), **trainer_parts(setting))
