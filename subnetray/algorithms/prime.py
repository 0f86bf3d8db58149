"""PRIME: tokens are rewarded by a model that learns from outcomes alone, as the policy does (arXiv 2502.01456)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import Trainer

from subnetray.algorithms.shared.advantages import (
    informative_groups,
    leave_one_out,
    prime_returns,
    process_rewards,
    scaled_to_unit_returns,
    whiten,
)
from subnetray.algorithms.shared.auxiliary_model import AuxiliaryModel, passes, token_logprobs
from subnetray.algorithms.shared.on_policy import TokenAdvantageTrainer, clipped_loss
from subnetray.algorithms.shared.rollouts import problems_of, row_text, trainer_parts
from subnetray.algorithms.shared.setting import Example, Setting
from subnetray.rollout import Samples
from subnetray.subnetwork.files.state import State
from subnetray.tasks import Problem


class PRIMETrainer(TokenAdvantageTrainer):
    """The reward model starts at the init, as its reference stays: at first it rewards nothing."""

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        super().__init__(setting, **kwargs)
        algorithm = setting.config.algorithm
        self._algorithm = algorithm
        self._problems = problems_of(setting, algorithm.oversample)
        self._chosen = Samples([], [])
        self._reference = setting.load()
        self.reward_model = AuxiliaryModel(
            setting.load(), algorithm.prm_lr, algorithm.prm_max_grad_norm, self.accelerator
        )

    def kept(self) -> State:
        state = super().kept()
        state.put("reward_model", self.reward_model.kept())
        return state

    def resume(self, state: State) -> None:
        super().resume(state)
        self.reward_model.resume(state.part("reward_model"))

    def chosen(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Draw ``oversample`` times as many rollouts as ``inputs``; return as many of the groups that tell something.

        They are rows such as TRL's data set has.
        """
        count = len(inputs)
        setting, algorithm, size = self._setting, self._algorithm, self._algorithm.group_size
        self.sync_now()
        problems = self._problems_of(self._round, count * algorithm.oversample)
        prompts = setting.encode(problems)
        samples = self.draw(prompts)
        rewards = [
            setting.task.reward(problem, setting.decode(ids))
            for problem, ids in zip(problems, samples.completions, strict=True)
        ]
        cut = [ids[-1] not in self.eos_token_ids for ids in samples.completions]
        groups = [slice(start, start + size) for start in range(0, len(prompts), size)]
        kept = informative_groups(
            [sum(map(setting.accepts, rewards[group])) / size for group in groups],
            [any(cut[group]) for group in groups],
            count // size,
            algorithm.accuracy_low,
            algorithm.accuracy_high,
        )
        rows = [row for index in kept for row in range(index * size, (index + 1) * size)]
        self._chosen = Samples([samples.completions[row] for row in rows], [samples.logprobs[row] for row in rows])
        setting.data.add([Example(prompts[row], samples.completions[row]) for row in rows])
        return [{"prompt": row_text(row, prompts[row]), "reward": rewards[row]} for row in rows]

    def _problems_of(self, number: int, count: int) -> list[Problem]:
        """The problems of ``count`` completions that this worker draws in a round, neighbours a group."""
        setting, size = self._setting, self._algorithm.group_size
        distinct = count // size * setting.workers
        drawn = self._problems[number * distinct : (number + 1) * distinct]
        return [problem for problem in drawn[setting.rank :: setting.workers] for _ in range(size)]

    def upcoming(self, number: int, count: int) -> list[list[int]]:
        return self._setting.encode(self._problems_of(number, count))

    def _roll_out(self, prompts: list[str], _: Any) -> dict[str, list[Any]]:
        return {
            "prompt_ids": self.encode(prompts),
            "completion_ids": self._chosen.completions,
            "logprobs": self._chosen.logprobs,
        }

    def advantages(self, batch: dict[str, Tensor]) -> Tensor:
        algorithm, mask = self._algorithm, batch["completion_mask"]
        update = algorithm.prm_update
        references = self._logprobs_of_reference(batch)
        ratios = self.learn(batch, references) if update in ("before", "after") else None
        if update != "after" or ratios is None:
            ratios = self._log_ratios(batch, references)
        rewards = process_rewards(ratios, mask, algorithm.prm_beta)
        if algorithm.process_norm == "batch_norm":
            rewards = scaled_to_unit_returns(rewards, mask, lambda value: self.accelerator.gather(value).max())
        self._log_mean("process_reward", rewards, mask)
        weights = (algorithm.process_weight, algorithm.outcome_weight)
        center = partial(leave_one_out, group_size=algorithm.group_size, variant=algorithm.leave_one_out)
        returns = prime_returns(rewards, batch["scores"], mask, center, weights)
        return whiten(returns, mask, self.total)

    def learn(self, batch: dict[str, Tensor], references: Tensor) -> Tensor:
        """One step of the reward model on −log of its belief σ(β Σ log π_φ/π_ref) in what turned out to be right.

        Returns log-ratios of tokens as they were before the step, (sequences, tokens).
        """
        size, count = self.args.per_device_train_batch_size, len(references)
        right = (batch["scores"] >= self._setting.config.task.accept).float()
        parts, loss, hits = [], 0.0, 0.0
        for index, part in enumerate(passes(batch, size)):
            rows = slice(index * size, (index + 1) * size)
            with self.reward_model.autocast():
                logprobs = token_logprobs(self.reward_model.model, part)
            ratios = (logprobs - references[rows]) * part["completion_mask"]
            belief = self._algorithm.prm_beta * ratios.sum(-1)
            share = binary_cross_entropy_with_logits(belief, right[rows], reduction="sum") / count
            share.backward()
            parts.append(ratios.detach())
            loss += float(share.detach())
            hits += float(((belief > 0) == (right[rows] > 0)).sum()) / count
        self.reward_model.step()
        self.note("prm_loss", loss)
        self.note("prm_accuracy", hits)
        return torch.cat(parts)

    @torch.no_grad()
    def _log_ratios(self, batch: dict[str, Tensor], references: Tensor) -> Tensor:
        with self.reward_model.autocast():
            parts = [
                token_logprobs(self.reward_model.model, part)
                for part in passes(batch, self.args.per_device_train_batch_size)
            ]
        return (torch.cat(parts) - references) * batch["completion_mask"]

    @torch.no_grad()
    def _logprobs_of_reference(self, batch: dict[str, Tensor]) -> Tensor:
        with self.reward_model.autocast():
            parts = [
                token_logprobs(self._reference, part) for part in passes(batch, self.args.per_device_train_batch_size)
            ]
        return torch.cat(parts)


def build(setting: Setting) -> Trainer:
    """Return a trainer of −min(ρA, clip(ρ)A), A the whitened returns of process rewards and outcomes, each less what
    the others of its group have on average.
    """

    def reward(prompts: list[str], reward: list[float], **_: Any) -> list[float]:
        return reward

    return PRIMETrainer(setting, args=clipped_loss(setting), **trainer_parts(setting) | {"reward_funcs": reward})
