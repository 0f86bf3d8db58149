"""PPO: advantages over the values that a model of its own predicts for every token (arXiv 1707.06347)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Trainer
from trl import GRPOConfig

from subnetray.algorithms.shared.advantages import at_last_token, clipped_value_loss, generalised, whiten
from subnetray.algorithms.shared.auxiliary_model import AuxiliaryModel, ValueModel, passes, token_logprobs
from subnetray.algorithms.shared.on_policy import TokenAdvantageTrainer, clipped_loss
from subnetray.algorithms.shared.rollouts import trainer_parts
from subnetray.algorithms.shared.setting import Setting
from subnetray.subnetwork.files.state import State


class PPOTrainer(TokenAdvantageTrainer):
    """The loss of values is no part of the policy's: two models, two gradients, two optimizers."""

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        super().__init__(setting, **kwargs)
        algorithm = setting.config.algorithm
        self._algorithm = algorithm
        self._reference = setting.load() if algorithm.beta and algorithm.kl == "reward" else None
        self.critic = AuxiliaryModel(
            ValueModel(setting),
            algorithm.value_lr,
            algorithm.max_grad_norm,
            self.accelerator,
        )

    def kept(self) -> State:
        state = super().kept()
        state.put("critic", self.critic.kept())
        return state

    def resume(self, state: State) -> None:
        super().resume(state)
        self.critic.resume(state.part("critic"))

    def advantages(self, batch: dict[str, Tensor]) -> Tensor:
        algorithm, mask = self._algorithm, batch["completion_mask"]
        rewards = at_last_token(batch["scores"], mask)
        size = self.args.per_device_train_batch_size
        with torch.no_grad(), self.critic.autocast():
            values = torch.cat([self.critic.model(part) for part in passes(batch, size)])
            if self._reference is not None:
                parts = [token_logprobs(self._reference, part, self.temperature) for part in passes(batch, size)]
                kl = (batch["old_per_token_logps"] - torch.cat(parts)) * mask
                rewards = rewards - algorithm.beta * kl
                self._log_mean("kl", kl, mask)
        advantages, returns = generalised(rewards, values, mask, algorithm.gamma, algorithm.gae_lambda)
        batch["values"], batch["returns"] = values, returns
        return whiten(advantages, mask, self.total)

    def learn_beside(self, inputs: dict[str, Tensor]) -> None:
        """Take the gradient of the critic's loss of a pass."""
        with self.critic.autocast():
            values = self.critic.model(inputs)
        mask = inputs["completion_mask"]
        errors = clipped_value_loss(values, inputs["values"], inputs["returns"], self._algorithm.value_epsilon) * mask
        (errors.sum() / self.tokens_of_step(inputs)).backward()
        self._log_mean("value_loss", errors.detach(), mask)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Of the policy; the critic takes its own step when the policy does."""
        loss: Tensor = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self.critic.step()
        return loss


def build(setting: Setting) -> Trainer:
    """Return a trainer of −min(ρA, clip(ρ)A), A whitened GAE(γ, λ) of the task's reward at a completion's last token.

    The KL penalty to the init, of weight β, is subtracted from every token's reward (log π/π_0 when it was sampled) or
    added to the loss (ρ(e^d − d − 1) with d = log π_0/π, whose gradient is that of the divergence).
    """
    arguments: GRPOConfig = clipped_loss(setting)
    if setting.config.algorithm.kl == "reward":
        arguments.beta = 0.0  # of the penalty in the loss
    return PPOTrainer(setting, args=arguments, **trainer_parts(setting))
