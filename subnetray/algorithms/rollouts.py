"""What the on-policy algorithms share: prompts of the task, rollouts drawn by the sweep's engines, their reward."""

from __future__ import annotations

import math
from typing import Any

from datasets import Dataset

from subnetray.algorithms.setting import Example, Setting, trainer_arguments
from subnetray.rollout import Samples
from subnetray.tasks import Problem


class EngineRollouts:
    """Mixin before a trainer of TRL, which is told after its construction that rollouts come from vLLM.

    That it believes so before would make it start an engine of its own.
    """

    state: Any  # transformers' TrainerState

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._setting = setting
        self.use_vllm = True
        self.vllm_generation = self
        self._last_loaded_step = -1

    def sync_weights(self) -> None:
        """Called by TRL before the first rollout of every optimizer step."""
        self._setting.publish(f"step-{self.state.global_step}")

    def encode(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of prompts, each as :func:`row_text` made it."""
        return [[int(token) for token in prompt.split()[1:]] for prompt in prompts]

    def draw(self, prompts: list[list[int]]) -> Samples:
        """One completion of the current policy for every prompt."""
        setting = self._setting
        return setting.policy.sample(prompts, setting.sampling(f"step-{self.state.global_step}", rank=setting.rank))

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
    prompts = [row_text(*each) for each in enumerate(setting.encode([problem.prompt for problem in problems]))]

    def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [
            setting.task.reward(problems[int(prompt.split()[0])], setting.decode(ids))
            for prompt, ids in zip(prompts, completion_ids, strict=True)
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
    rounds = math.ceil(algorithm.steps / (algorithm.minibatches * algorithm.epochs))
    prompts = algorithm.batch_size * algorithm.minibatches // algorithm.group_size
    return setting.task.train_prompts(rounds * prompts * times, setting.config.seed)


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
        "epsilon": algorithm.epsilon,
        "shuffle_dataset": False,
    }
