"""The path of all on-policy algorithms but RLOO: TRL's GRPO trainer, its rollouts drawn by the sweep's engines.

rollout → reward → advantage → clipped loss: GRPO's own advantages are one to a sequence; other algorithms give one to
a token and change nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from subnetray.algorithms.shared import trl_patches
from subnetray.algorithms.shared.rollouts import EngineRollouts, group_arguments
from subnetray.algorithms.shared.setting import Setting, require_finite

# Methods of TRL's trainer that are overridden below: TRL has no other way to give tokens advantages, or to keep a pass.
_OVERRIDDEN = (
    *("_generate_and_score_completions", "_calculate_rewards"),
    *("_compute_loss", "_get_per_token_logps_and_entropies"),
)
# Rollouts whose mean tells weights apart: of a single token engine and trainer may differ by 0.8 nats.
_ENOUGH = 64


@dataclass(frozen=True)
class _Pass:
    """Log-probabilities and entropies of the tokens of all rollouts, with their graph, and the weights' versions."""

    logprobs: Tensor
    entropies: Tensor
    versions: list[int]


class EngineGRPOTrainer(EngineRollouts, GRPOTrainer):
    """Weighs tokens by the ratio between its own probabilities and those that the engine drew them with.

    For that ratio TRL passes rollouts through the model before the loss does so again. Where they make up one whole
    step, and while nothing has written to the weights, the loss takes the first pass, whose graph is kept, for its own.
    Where the engines drew enough from these very weights, it tells whether they have them: no other probe is made.
    """

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        trl_patches.require("GRPOTrainer", *_OVERRIDDEN)
        super().__init__(setting, rollout_func=self._roll_out, **kwargs)
        algorithm = setting.config.algorithm
        # A model that is wrapped for data-parallel workers averages the gradients of passes that it has seen itself.
        self._one_pass = algorithm.minibatches == algorithm.epochs == setting.workers == 1 and (
            algorithm.micro_batch_size in (None, algorithm.batch_size)
        )
        drawn = algorithm.batch_size * algorithm.minibatches // setting.workers
        self.probes = setting.config.rollout.staleness > 0 or drawn < _ENOUGH
        self._pass: _Pass | None = None
        self._weights = list(self.model.parameters())
        self._rows = torch.empty(0, dtype=torch.long)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        inputs = self.chosen(inputs)
        batch: dict[str, Tensor] = super()._generate_and_score_completions(inputs)
        if not self.probes:
            drawn = batch["completion_mask"].bool()
            trainer, engine = batch["old_per_token_logps"][drawn], batch["sampling_per_token_logps"][drawn]
            # Each worker looks at what it holds: others may have nothing to complain of.
            held = (getattr(weight, "to_local", lambda weight=weight: weight)() for weight in self._weights)
            require_finite(trainer.tolist(), held, f"step-{self.state.global_step}")
            self._setting.policy.compare(trainer.tolist(), engine.tolist())
        batch["row"] = torch.arange(len(inputs), device=batch["completion_ids"].device)  # TRL shuffles sequences
        return batch

    def chosen(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of a round of rollouts: those of the data set, unless an algorithm chooses others."""
        return inputs

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        self._rows = inputs["row"]
        loss: Tensor = super()._compute_loss(model, inputs)
        self.learn_beside(inputs)
        return loss

    def learn_beside(self, inputs: dict[str, Tensor]) -> None:
        """Train what an algorithm trains beside the policy, on the batch of a pass: called in each, after its loss."""

    def _get_per_token_logps_and_entropies(
        self, model: Any, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, None]:
        if not self._one_pass or (not torch.is_grad_enabled() and model is not self.model):  # that is a reference
            passed: tuple[Tensor, Tensor | None, None] = super()._get_per_token_logps_and_entropies(
                model, *args, **kwargs
            )
            return passed
        if not torch.is_grad_enabled():
            with torch.enable_grad():
                logprobs, entropies, _ = super()._get_per_token_logps_and_entropies(
                    model, *args, **kwargs | {"compute_entropy": True}
                )
            self._pass = _Pass(logprobs, entropies, self._versions())
            return logprobs.detach(), None, None
        kept, self._pass = self._pass, None
        if kept is None or kept.versions != self._versions():
            passed = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
            return passed
        return kept.logprobs[self._rows], kept.entropies[self._rows], None

    def _versions(self) -> list[int]:
        """What PyTorch counts up whenever a weight is written to."""
        return [weight._version for weight in self._weights]

    def _roll_out(self, prompts: list[str], _: GRPOTrainer) -> dict[str, list[Any]]:
        ids = self.encode(prompts)
        samples = self.sample(ids)
        return {"prompt_ids": ids, "completion_ids": samples.completions, "logprobs": samples.logprobs}


class TokenAdvantageTrainer(EngineGRPOTrainer):
    """The base of algorithms with advantages of their own."""

    _scores: Tensor

    def advantages(self, batch: dict[str, Tensor]) -> Tensor:
        """Advantages of a batch of rollouts, (sequences, tokens), without gradient.

        ``batch`` is what TRL made of the rollouts, with ``scores``, (sequences,), the rewards of the task; neighbours
        are a group. What is put in, one row a sequence, comes back with its sequence in every epoch.
        """
        raise NotImplementedError

    def _calculate_rewards(self, inputs: Any, prompts: list[Any], *args: Any) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, *args)  # of all workers
        first = self.accelerator.process_index * len(prompts)
        self._scores = rewards[first : first + len(prompts)].sum(-1)
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = super()._generate_and_score_completions(inputs)
        batch["scores"] = self._scores
        batch["advantages"] = self.advantages(batch)
        return batch

    def tokens_of_step(self, inputs: dict[str, Tensor]) -> Tensor:
        """What to divide a sum over a pass's tokens by for its share in a step's mean over the tokens of a worker.

        As in TRL's own ``dapo``: the count is of all rollouts and workers, brought to one optimizer step and worker.
        """
        tokens = inputs["num_items_in_batch"] / self.accelerator.num_processes
        return tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation

    def _log_mean(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Log the mean of values that are 0 on padding over the tokens of all workers."""
        totals = self.total(torch.stack([values.sum(), mask.sum().to(values)]))
        self.note(name, float(totals[0] / totals[1]))

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the run's workers."""
        summed: Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return summed


def clipped_loss(setting: Setting) -> GRPOConfig:
    """Arguments of TRL's −min(ρA, clip(ρ)A), a mean over the tokens of a batch."""
    algorithm = setting.config.algorithm
    # TRL's config refuses groups of one, which have no relative advantage; these advantages need no group. It is told
    # of one that is the whole batch, and the trainer of the real ones.
    told = group_arguments(setting) | {"num_generations": algorithm.batch_size}
    arguments = GRPOConfig(**told, loss_type="dapo")
    arguments.num_generations = algorithm.group_size
    return arguments
