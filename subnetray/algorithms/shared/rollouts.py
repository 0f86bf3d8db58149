"""What the on-policy algorithms share: prompts of the task, rollouts drawn by the sweep's engines, their reward."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from subnetray.algorithms.shared.loading import sharding
from subnetray.algorithms.shared.prefixes import share_prefixes
from subnetray.algorithms.shared.setting import Example, Setting, trainer_arguments
from subnetray.private import Gone
from subnetray.rollout import Draw, Samples
from subnetray.subnetwork.files.state import State, from_lists, to_lists
from subnetray.tasks import Problem


@dataclass(frozen=True)
class Drawn:
    """Completions that were sampled before, in the place of a draw."""

    samples: Samples

    def result(self) -> Samples:
        """Return it at once."""
        return self.samples


class EngineRollouts:
    """Mixin before a trainer of TRL, which is told after its construction that rollouts come from vLLM.

    That it believes so before would make it start an engine of its own.
    """

    probes = True  # whether engines are asked about a text of their own after every synchronisation
    args: Any
    state: Any  # transformers' TrainerState
    accelerator: Any
    ref_model: Any
    train_dataset: Any
    _metrics: Any
    _step: int
    _buffered_inputs: list[dict[str, Tensor | None]] | None

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._setting = setting
        if self.ref_model is not None:  # TRL has loaded it, and is to round as the policy does
            share_prefixes(self.accelerator.unwrap_model(self.ref_model))
        self.use_vllm = True
        self.vllm_generation = self
        self._last_loaded_step = -1
        # Rounds of rollouts that are drawn already: their prompts, the step whose weights draw them, and the draw.
        self._ahead: deque[tuple[list[list[int]], int, Draw | Drawn]] = deque()
        self._round = 0  # of those that were trained on

    def sync_weights(self) -> None:
        """Called by TRL before the first rollout of every optimizer step."""
        self._setting.publish(f"step-{self.state.global_step}", self.probes)

    def sync_now(self) -> None:
        """Publish the weights before TRL asks for it, which it then does not in this step (``_last_loaded_step``)."""
        self.sync_weights()
        self._last_loaded_step = self.state.global_step

    def note(self, name: str, value: float) -> None:
        """Have TRL log the mean of all values of a step, by ``_metrics``, which it has no public way into.

        Raises :class:`Gone` without: what a run must report would be missing.
        """
        if not hasattr(self, "_metrics"):
            raise Gone(f"TRL's {type(self).__mro__[1].__name__} has no _metrics: {name} cannot be logged")
        self._metrics["train"][name].append(value)

    def encode(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of prompts, each as :func:`row_text` made it."""
        return [[int(token) for token in prompt.split()[1:]] for prompt in prompts]

    def draw(self, prompts: list[list[int]]) -> Samples:
        """One completion for every prompt: of the current policy, or of that of ``rollout.staleness`` rounds ago.

        The policy of that round began to draw them then: engines sample while it trains.
        """
        setting, step, staleness = self._setting, self.state.global_step, self._setting.config.rollout.staleness
        self._round += 1
        if not staleness:
            return setting.policy.sample(prompts, setting.sampling(f"step-{step}", rank=setting.rank))
        for ahead in range(self._round - 1 + len(self._ahead), min(self._round + staleness, rounds_of(setting))):
            upcoming = self.upcoming(ahead, len(prompts))
            # The seed is of the step that trains on them, as without staleness.
            sampling = setting.sampling(f"step-{ahead * steps_of_round(setting)}", rank=setting.rank)
            self._ahead.append((upcoming, step, setting.policy.start(upcoming, sampling)))
        drawn_for, version, draw = self._ahead.popleft()
        if drawn_for != prompts:
            raise RuntimeError(f"rollouts of round {self._round} were drawn for other prompts than are trained on")
        self.note("rollout_lag", float(step - version))
        return draw.result()

    def kept(self) -> State:
        """Rounds that are over, those that are drawn ahead, and what is left to train on of the present one.

        Of the latter TRL has batches, ``_buffered_inputs``, which it has no public name for. Raises :class:`Gone`
        without. Engines that still draw are waited for.
        """
        if not (hasattr(self, "_step") and hasattr(self, "_buffered_inputs")):
            raise Gone("TRL's trainer has no _step or no _buffered_inputs: what is left of a round cannot be kept")
        self._ahead = deque((prompts, step, Drawn(draw.result())) for prompts, step, draw in self._ahead)
        state = State({}, {"round": self._round, "drawn_at": [step for _, step, _ in self._ahead]})
        for index, (prompts, _, draw) in enumerate(self._ahead):
            samples, part = draw.result(), State()
            part.put("prompts", from_lists(prompts, torch.int64))
            part.put("completions", from_lists(samples.completions, torch.int64))
            part.put("logprobs", from_lists(samples.logprobs, torch.float64))
            state.put(f"ahead-{index}", part)
        # At its end there is nothing left of a round.
        batches = (self._buffered_inputs or []) if self.state.global_step % steps_of_round(self._setting) else []
        state.values["batches"] = [[key for key, value in batch.items() if value is None] for batch in batches]
        for index, batch in enumerate(batches):
            found = {key: value for key, value in batch.items() if value is not None}
            state.put(f"batch-{index}", State(found))
        return state

    def resume(self, state: State) -> None:
        """Go on from there, at the step that transformers has set."""
        self._round = state.values["round"]
        self._step = self.state.global_step * self.args.gradient_accumulation_steps
        self._ahead.clear()
        for index, step in enumerate(state.values["drawn_at"]):
            part = state.part(f"ahead-{index}")
            prompts, completions, logprobs = (
                to_lists(part.part(name)) for name in ("prompts", "completions", "logprobs")
            )
            self._ahead.append((prompts, step, Drawn(Samples(completions, logprobs))))
        device = self.accelerator.device
        self._buffered_inputs = [
            {key: each.clone().to(device) for key, each in state.part(f"batch-{index}").tensors.items()}
            | dict.fromkeys(absent)
            for index, absent in enumerate(state.values["batches"])
        ] or None

    def upcoming(self, number: int, count: int) -> list[list[int]]:
        """The ``count`` prompts that this worker will draw a completion for in round ``number``, the first being 0."""
        setting = self._setting
        size = setting.config.algorithm.group_size
        distinct = count * setting.workers // size
        rows = self.train_dataset["prompt"][number * distinct : (number + 1) * distinct]
        repeated = [row for row in rows for _ in range(size)]
        return self.encode(repeated[setting.rank * count : (setting.rank + 1) * count])

    def sample(self, prompts: list[list[int]]) -> Samples:
        """One completion of the current policy for every prompt, to be trained on."""
        samples = self.draw(prompts)
        self._setting.data.add([Example(*pair) for pair in zip(prompts, samples.completions, strict=True)])
        return samples


def row_text(number: int, ids: list[int]) -> str:
    """What TRL passes on as a prompt: the number of its problem, for two may have one prompt, and its token ids."""
    return " ".join(map(str, (number, *ids)))


def trainer_parts(setting: Setting) -> dict[str, Any]:
    """Arguments of a trainer: the prompts, as many as the run samples from, and their reward."""
    problems = problems_of(setting)
    prompts = [row_text(*each) for each in enumerate(setting.encode(problems))]

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return [
            setting.task.reward(problems[int(prompt.split()[0])], text)
            for prompt, text in zip(prompts, completions, strict=True)
        ]

    return {
        "model": setting.model,
        "reward_funcs": reward,
        "train_dataset": Dataset.from_dict({"prompt": prompts}),
        "processing_class": setting.tokenizer,
        "callbacks": setting.callbacks,
    }


def problems_of(setting: Setting, times: int = 1) -> list[Problem]:
    """All problems that the run samples from, or ``times`` as many, in order.

    At a time, rollouts are drawn for ``minibatches`` steps, of which ``epochs`` passes are made.
    """
    algorithm = setting.config.algorithm
    prompts = algorithm.batch_size * algorithm.minibatches // algorithm.group_size
    return setting.task.train_prompts(rounds_of(setting) * prompts * times, setting.config.seed)


def steps_of_round(setting: Setting) -> int:
    """Optimizer steps that are taken on the rollouts of a round."""
    return int(setting.config.algorithm.minibatches * setting.config.algorithm.epochs)


def rounds_of(setting: Setting) -> int:
    """How often the run draws rollouts."""
    return math.ceil(setting.config.algorithm.steps / steps_of_round(setting))


def group_arguments(setting: Setting) -> dict[str, Any]:
    """Arguments that TRL's configs of GRPO and RLOO share."""
    algorithm, rollout = setting.config.algorithm, setting.config.rollout
    arguments = trainer_arguments(setting)
    return {
        **arguments,
        "steps_per_generation": algorithm.minibatches * arguments["gradient_accumulation_steps"],
        "num_iterations": algorithm.epochs,
        "num_generations": algorithm.group_size,
        "max_completion_length": rollout.max_new_tokens,
        "temperature": rollout.temperature,
        "beta": algorithm.beta,
        # Of the reference that TRL loads where beta is not 0.
        "model_init_kwargs": sharding(setting.shards) or None,
        "epsilon": algorithm.epsilon,
        "shuffle_dataset": False,
    }
