"""What is written down while a run trains: one line a step, with what the step did to the weights."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from subnetray.algorithms.shared.setting import RunError
from subnetray.store.results import TIMES
from subnetray.subnetwork.files.state import State, from_bytes, to_bytes
from subnetray.subnetwork.update.dynamics import SNAPSHOTS, Dynamics, Step
from subnetray.subnetwork.weights import Weights, named_weights

# The names of the metrics, the same for all algorithms, by what TRL and transformers call them.
_NAMES = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "grad_norm_masked": "grad_norm_masked",  # of a restricted run, where grad_norm is of all weights
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_advantage_share",
    "kl": "kl",  # to the init: a token's mean; KTO's reference point, which is a completion's
    "entropy": "entropy",
    "num_tokens": "tokens",  # of prompts and completions so far, over all workers; with tokens_per_s
    "clip_ratio/region_mean": "clip_share",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "truncated_share",
    "sampling/importance_sampling_ratio/mean": "engine_ratio_mean",
    "sampling/importance_sampling_ratio/min": "engine_ratio_min",
    "sampling/importance_sampling_ratio/max": "engine_ratio_max",
    "sampling/sampling_logp_difference/mean": "engine_logp_gap_mean",
    "sampling/sampling_logp_difference/max": "engine_logp_gap_max",
    "rollout_lag": "rollout_lag",  # steps between the weights that drew rollouts and the first trained on them
    "value_loss": "value_loss",
    "process_reward": "process_reward",
    "prm_loss": "prm_loss",
    "prm_accuracy": "prm_accuracy",
    "mean_token_accuracy": "token_accuracy",
    "rewards/accuracies": "preference_accuracy",
    "rewards/margins": "preference_margin",
    "rewards/chosen": "preference_reward_chosen",  # what the loss takes for a reward, before its weight or after it
    "rewards/rejected": "preference_reward_rejected",
}


class Recorder(TrainerCallback):
    """Appends to ``path`` after every optimizer step, and ends a run whose loss, gradient or weights are not finite.

    What took how long goes to ``time.jsonl`` beside it: seconds since training began, and tokens a second.

    The dynamics of ``model`` are measured every ``every`` steps and after the last one, from ``init``, its weights in
    the dtype of export. The snapshots among them are as many as the paper's checkpoints, evenly spaced, where
    there are that many. ``write``: whether this worker is the one that measures and writes.
    """

    def __init__(self, path: Path, model: torch.nn.Module, init: Weights, every: int, write: bool) -> None:
        self._path, self._model, self._every, self._write = path, model, every, write
        held = named_weights(model)
        self._dynamics = Dynamics(init, held) if write else None
        self._measured: Step | None = None
        self._snapshots = 0
        self._times = path.with_name(TIMES)
        self._tokens = 0.0
        self._began = self._since = time.perf_counter()
        self.steps = 0
        self.sum_lr = 0.0

    @property
    def update_norm(self) -> float:
        """The L2 norm of the update as exported, after the last measured step; on the worker that writes."""
        assert self._measured is not None
        return self._measured.update_norm

    @property
    def dynamics(self) -> Dynamics:
        """What has been measured; of the worker that writes."""
        assert self._dynamics is not None
        return self._dynamics

    def kept(self) -> State:
        """Return what has been measured and written so far, in the worker that writes."""
        values = {"steps": self.steps, "sum_lr": self.sum_lr, "snapshots": self._snapshots, "tokens": self._tokens}
        state = State({}, {**values, "seconds": time.perf_counter() - self._began})
        for name, path in (("metrics", self._path), ("times", self._times)):
            state.tensors[name] = from_bytes(path.read_bytes())
        state.put("dynamics", self.dynamics.kept())
        return state

    def resume(self, state: State) -> None:
        """Go on from there, once training has begun: files end with the lines of then."""
        self.steps, self.sum_lr = state.values["steps"], state.values["sum_lr"]
        self._snapshots, self._tokens = state.values["snapshots"], state.values["tokens"]
        self._began -= state.values["seconds"]
        for name, path in (("metrics", self._path), ("times", self._times)):
            path.write_bytes(to_bytes(state.tensors[name]))
        self.dynamics.resume(state.part("dynamics"))

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._began = self._since = time.perf_counter()
        if self._write:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for path in (self._path, self._times):
                path.write_bytes(b"")

    def on_step_end(self, _: TrainingArguments, state: TrainerState, __: TrainerControl, **___: Any) -> None:
        self._measured = None
        step, last = state.global_step, state.max_steps
        if step % self._every and step != last:
            return
        weights = named_weights(self._model)  # asked for by all workers, which may have parts of them
        if self._dynamics is None:
            return
        due = SNAPSHOTS * step // last
        self._measured = self._dynamics.measure(step, weights, snapshot=due > self._snapshots)
        self._snapshots = due

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
        # After these two, which are why.
        if self._measured is not None and not math.isfinite(self._measured.update_norm):
            raise RunError(f"weights are NaN or infinite at step {state.global_step}")
        self.steps = state.global_step
        self.sum_lr += values["lr"]
        times = {"seconds": round(time.perf_counter() - self._began, 4)}
        if "tokens" in values:
            times["tokens_per_s"] = self._throughput(values["tokens"])
        if self._measured is not None:
            values |= self._measured.to_dict()
        if self._write:
            for path, found in ((self._path, values), (self._times, times)):
                with path.open("a") as file:
                    file.write(json.dumps({"step": state.global_step, **found}) + "\n")

    def _throughput(self, tokens: float) -> float:
        """Of the tokens that came in since this was asked last, over all workers, a second of all that was done."""
        now, before = time.perf_counter(), (self._tokens, self._since)
        self._tokens, self._since = tokens, now
        return (tokens - before[0]) / (now - before[1])
