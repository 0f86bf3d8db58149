"""GRPO: TRL's trainer, its rollouts drawn by the sweep's engines."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer

from subnetray.algorithms.setting import Example, Setting, trainer_arguments


class _EngineGRPOTrainer(GRPOTrainer):
    """TRL's trainer, told after its construction that rollouts come from vLLM.

    Only then does it weigh tokens by the ratio between its own probabilities and those that the engine drew them
    with. That it believes so before would make it start an engine of its own.
    """

    def __init__(self, setting: Setting, **kwargs: Any) -> None:
        super().__init__(rollout_func=self._roll_out, **kwargs)
        self._setting = setting
        self.use_vllm = True
        self.vllm_generation = self
        self._last_loaded_step = -1

    def sync_weights(self) -> None:
        """Called by TRL before the first rollout of every optimizer step."""
        self._setting.publish(f"step-{self.state.global_step}")

    def _roll_out(self, prompts: list[str], _: GRPOTrainer) -> dict[str, list[Any]]:
        setting = self._setting
        encoded = {prompt: setting.encode(prompt) for prompt in dict.fromkeys(prompts)}  # each comes group_size times
        ids = [encoded[prompt] for prompt in prompts]
        samples = setting.policy.sample(ids, setting.sampling(f"step-{self.state.global_step}"))
        setting.data.add([Example(*pair) for pair in zip(ids, samples.completions, strict=True)])
        return {"prompt_ids": ids, "completion_ids": samples.completions, "logprobs": samples.logprobs}


def build(setting: Setting) -> Trainer:
    """Return a trainer whose every step samples ``batch_size`` / ``group_size`` prompts, ``group_size`` times each."""
    algorithm = setting.config.algorithm
    problems = setting.task.train_prompts(
        algorithm.steps * algorithm.batch_size // algorithm.group_size, setting.config.seed
    )
    by_prompt = {problem.prompt: problem for problem in problems}

    def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [
            setting.task.reward(by_prompt[prompt], setting.decode(ids))
            for prompt, ids in zip(prompts, completion_ids, strict=True)
        ]

    return _EngineGRPOTrainer(
        setting,
        model=setting.model,
        reward_funcs=reward,
        args=GRPOConfig(
            **trainer_arguments(setting),
            num_generations=algorithm.group_size,
            max_completion_length=setting.config.rollout.max_new_tokens,
            temperature=setting.config.rollout.temperature,
            beta=algorithm.beta,
            epsilon=algorithm.epsilon,
            loss_type=algorithm.loss,
            shuffle_dataset=False,
        ),
        train_dataset=Dataset.from_dict({"prompt": [problem.prompt for problem in problems]}),
        processing_class=setting.tokenizer,
        callbacks=setting.callbacks,
    )
