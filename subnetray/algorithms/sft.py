"""SFT: next-token training on completions: gold, those of other prompts, or the init's own that the reward accepts."""

from __future__ import annotations

from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from subnetray.algorithms.shared.batches import OnExamples, example_arguments, example_parts, labelled, train_on
from subnetray.algorithms.shared.setting import Example, RunError, Setting

_PROMPTS = 2048  # training prompts that rejection sampling draws from, at most


class _ExampleSFTTrainer(OnExamples, SFTTrainer):
    """TRL's trainer on examples."""


def build(setting: Setting) -> Trainer:
    """Return a trainer of −mean log π over completion tokens; examples are in the order they are trained on."""
    examples = examples_of(setting)
    setting.data.add(examples)
    trainer = _ExampleSFTTrainer(
        args=SFTConfig(
            **example_arguments(setting),
            max_length=None,
            packing=False,
        ),
        **example_parts(setting, labelled),
    )
    return train_on(trainer, examples)


def examples_of(setting: Setting) -> list[Example]:
    """One example a sequence of the whole run, ``steps`` × ``batch_size`` of them."""
    algorithm, seed = setting.config.algorithm, setting.config.seed
    count = algorithm.steps * algorithm.batch_size
    if algorithm.data in ("gold", "shuffled"):
        problems = setting.task.train_prompts(count, seed)
        prompts = setting.encode(problems)
        golds = setting.encode_completions([problem.gold for problem in problems])
        if algorithm.data == "shuffled":  # the order of problems is random already
            golds = [*golds[1:], *golds[:1]]
        return [Example(prompt, gold) for prompt, gold in zip(prompts, golds, strict=True)]
    problems = setting.task.train_prompts(min(count, _PROMPTS), seed)
    accepted = [
        example
        for group in setting.sample_init(problems, algorithm.samples_per_prompt, "rejection")
        for example, reward in group
        if setting.accepts(reward)
    ]
    if not accepted:
        raise RunError(
            f"the init solved none of {len(problems)} training prompts in {algorithm.samples_per_prompt} samples each:"
            " there is nothing to train on"
        )
    return [accepted[index % len(accepted)] for index in range(count)]
