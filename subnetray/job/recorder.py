"""What is written down while a run trains: one line a step, with the visible density since the init."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from subnetray.algorithms.setting import RunError
from subnetray.subnetwork.visible import count_changed
from subnetray.subnetwork.weights import Weights, named_weights

# The names of the metrics, the same for all algorithms, by what TRL and transformers call them.
_NAMES = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_advantage_share",
    "kl": "kl",  # to the init: a token's mean; KTO's reference point, which is a completion's
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_share",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "truncated_share",
    "sampling/importance_sampling_ratio/mean": "engine_ratio_mean",
    "sampling/importance_sampling_ratio/min": "engine_ratio_min",
    "sampling/importance_sampling_ratio/max": "engine_ratio_max",
    "sampling/sampling_logp_difference/mean": "engine_logp_gap_mean",
    "sampling/sampling_logp_difference/max": "engine_logp_gap_max",
    "mean_token_accuracy": "token_accuracy",
    "rewards/accuracies": "preference_accuracy",
    "rewards/margins": "preference_margin",
}


class Recorder(TrainerCallback):
    """Appends to ``path`` after every optimizer step, and ends a run whose loss or gradient is not finite."""

    def __init__(
        self, path: Path, model: torch.nn.Module, init: Weights, export: torch.dtype, every: int, write: bool
    ) -> None:
        self._path, self._model, self._init, self._export, self._every = path, model, init, export, every
        self._write = write
        self._density: float | None = None
        self._n = sum(tensor.numel() for tensor in init.values())
        self.steps = 0
        self.sum_lr = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        if self._write:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(b"")

    def on_step_end(self, _: TrainingArguments, state: TrainerState, __: TrainerControl, **___: Any) -> None:
        self._density = None
        if state.global_step % self._every == 0 or state.global_step == state.max_steps:
            self._density = count_changed(self._init, named_weights(self._model, self._export)) / self._n

    def on_log(
        self,
        _: TrainingArguments,
        state: TrainerState,
        __: TrainerControl,
        logs: dict[str, float] | None = None,
        **___: Any,
    ) -> None:
        if logs is None or "loss" not in logs:  # the summary at the end
            return
        values = {name: logs[key] for key, name in _NAMES.items() if key in logs}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values.get(name, 0.0)):
                raise RunError(f"{name} is {values[name]} at step {state.global_step}")
        self.steps = state.global_step
        self.sum_lr += values["lr"]
        if self._density is not None:
            values["density"] = self._density
        if self._write:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **values}) + "\n")
