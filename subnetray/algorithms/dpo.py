"""DPO: pairs of completions, one preferred; sampled from the init and judged by the reward, or made from the gold."""

from __future__ import annotations

import random
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer
from trl import DPOConfig, DPOTrainer

from subnetray.algorithms.setting import Example, RunError, Setting, trainer_arguments

_PROMPTS = 1024  # training prompts that on-policy pairs are drawn from, at most


class _TokenizedDPOTrainer(DPOTrainer):
    """TRL's trainer on pairs that are token ids already: text sampled as tokens need not encode to the same tokens."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def build(setting: Setting) -> Trainer:
    """Return a trainer of −log σ(β[(lp_w − ref_w) − (lp_l − ref_l)]); pairs are in the order they are trained on."""
    algorithm = setting.config.algorithm
    pairs = pairs_of(setting)
    setting.data.add([example for pair in pairs for example in pair])
    dataset = Dataset.from_dict(
        {
            "prompt_ids": [chosen.prompt for chosen, _ in pairs],
            "chosen_ids": [chosen.completion for chosen, _ in pairs],
            "rejected_ids": [rejected.completion for _, rejected in pairs],
        }
    )
    return _TokenizedDPOTrainer(
        model=setting.model,
        ref_model=reference(setting),
        args=DPOConfig(
            **trainer_arguments(setting),
            beta=algorithm.beta,
            max_length=None,
            train_sampling_strategy="sequential",
        ),
        train_dataset=dataset,
        processing_class=setting.tokenizer,
        callbacks=setting.callbacks,
    )


def reference(setting: Setting) -> PreTrainedModel:
    """A second copy of the init, in the policy's dtype."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        setting.init, dtype=setting.model.dtype, local_files_only=True
    )
    return model.to(setting.model.device)


def pairs_of(setting: Setting) -> list[tuple[Example, Example]]:
    """One pair (chosen, rejected) a sequence of the whole run, ``steps`` × ``batch_size`` of them."""
    algorithm, seed = setting.config.algorithm, setting.config.seed
    count = algorithm.steps * algorithm.batch_size
    rng = random.Random(seed)
    if algorithm.data == "off_policy":
        pairs = []
        for problem in setting.task.train_prompts(count, seed):
            prompt = setting.encode(problem.prompt)
            wrong = setting.task.corrupted(problem, rng)
            pairs.append(
                (
                    Example(prompt, setting.encode_completion(problem.gold)),
                    Example(prompt, setting.encode_completion(wrong)),
                )
            )
        return pairs
    problems = setting.task.train_prompts(min(count, _PROMPTS), seed)
    drawn = []
    for group in setting.sample_init(problems, algorithm.samples_per_prompt, "pairs"):
        best, worst = max(reward for _, reward in group), min(reward for _, reward in group)
        if best > worst:
            chosen = rng.choice([example for example, reward in group if reward == best])
            rejected = rng.choice([example for example, reward in group if reward == worst])
            drawn.append((chosen, rejected))
    if not drawn:
        raise RunError(
            f"no training prompt of {len(problems)} has both a better and a worse completion among"
            f" {algorithm.samples_per_prompt} samples of the init: there are no pairs to train on"
        )
    return [drawn[index % len(drawn)] for index in range(count)]
