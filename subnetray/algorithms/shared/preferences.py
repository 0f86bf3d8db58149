"""Preference data as token ids: pairs, one of two preferred, and single completions, each desirable or not."""

from __future__ import annotations

import math
import random
from typing import Any

from torch import Tensor

from subnetray.algorithms.shared.batches import apart, example_arguments, example_parts
from subnetray.algorithms.shared.setting import Example, RunError, Setting
from subnetray.subnetwork.files.state import State

_PROMPTS = 1024  # training prompts that on-policy data are drawn from, at most


class Prepared(list[tuple[Example, Example]]):
    """Pairs for an experimental trainer of TRL, which prepares its data by mapping: nothing is left to do."""

    def map(self, *_: Any, **__: Any) -> Prepared:
        """Return the pairs as they are."""
        return self


class ExactLogprobs:
    """Mixin before an experimental trainer of TRL: log-probabilities in fp32 from logits of any dtype.

    TRL's stable trainers do so already; in bf16 the rounding is as large as what a small step changes.
    """

    def get_batch_logps(self, logits: Tensor, labels: Tensor, **kwargs: Any) -> Tensor:
        """Log-probability of each sequence's completion, (sequences,)."""
        return super().get_batch_logps(logits.float(), labels, **kwargs)  # type: ignore[misc]


class CountedTokens:
    """Mixin before an experimental trainer of TRL on pairs: logs tokens as its stable trainers do."""

    accelerator: Any
    _seen: float = 0.0

    def get_batch_loss_metrics(self, model: Any, batch: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's loss and metrics of a batch; its tokens, of both completions and their prompts, are counted."""
        tokens = batch["chosen_attention_mask"].sum() + batch["rejected_attention_mask"].sum()
        self._seen += float(self.accelerator.reduce(tokens, reduction="sum"))
        return super().get_batch_loss_metrics(model, batch, *args, **kwargs)  # type: ignore[misc]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add ``num_tokens``, of all workers so far."""
        super().log({**logs, "num_tokens": self._seen}, *args, **kwargs)  # type: ignore[misc]

    def kept(self) -> State:
        """Return what is counted up from step to step."""
        return State({}, {"tokens": self._seen})

    def resume(self, state: State) -> None:
        """Go on from there."""
        self._seen = state.values["tokens"]


def experimental_parts(setting: Setting) -> dict[str, Any]:
    """What an experimental trainer of TRL on pairs is made with, which are in the order that they are trained on."""
    return {**example_parts(setting, apart), "train_dataset": Prepared(pairs_of(setting))}


def experimental_arguments(setting: Setting) -> dict[str, Any]:
    """Arguments that the configs of TRL's experimental trainers on pairs share."""
    return {
        **example_arguments(setting),
        "beta": setting.config.algorithm.beta,
        "max_length": setting.config.rollout.max_model_len,  # unused: nothing is cut
    }


def pairs_of(setting: Setting) -> list[tuple[Example, Example]]:
    """One pair (chosen, rejected) a sequence of the whole run, ``steps`` × ``batch_size`` of them, and logged."""
    pairs = _made_pairs(setting) if setting.config.algorithm.data == "off_policy" else _sampled_pairs(setting)
    setting.data.add([example for pair in pairs for example in pair])
    return pairs


def _made_pairs(setting: Setting) -> list[tuple[Example, Example]]:
    rng = random.Random(setting.config.seed)
    problems = setting.task.train_prompts(_count(setting), setting.config.seed)
    prompts = setting.encode(problems)
    golds = setting.encode_completions([problem.gold for problem in problems])
    wrongs = setting.encode_completions([setting.task.corrupted(problem, rng) for problem in problems])
    return [
        (Example(prompt, gold), Example(prompt, wrong))
        for prompt, gold, wrong in zip(prompts, golds, wrongs, strict=True)
    ]


def _sampled_pairs(setting: Setting) -> list[tuple[Example, Example]]:
    algorithm, seed, count = setting.config.algorithm, setting.config.seed, _count(setting)
    rng = random.Random(seed)
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


def labelled_of(setting: Setting) -> list[tuple[Example, bool]]:
    """One completion a sequence of the whole run and whether it is desirable, ``steps`` × ``batch_size``, and logged.

    Neighbours are of different prompts. The init's completions are desirable where the reward accepts them, and as
    often as it does; of gold and corrupted gold, every second one is.
    """
    labelled = _made_labels(setting) if setting.config.algorithm.data == "off_policy" else _sampled_labels(setting)
    setting.data.add([example for example, _ in labelled])
    return labelled


def _made_labels(setting: Setting) -> list[tuple[Example, bool]]:
    rng = random.Random(setting.config.seed)
    problems = setting.task.train_prompts(_count(setting), setting.config.seed)
    desirable = [index % 2 == 0 for index in range(len(problems))]
    texts = [
        problem.gold if good else setting.task.corrupted(problem, rng)
        for problem, good in zip(problems, desirable, strict=True)
    ]
    prompts = setting.encode(problems)
    examples = map(Example, prompts, setting.encode_completions(texts))
    return list(zip(examples, desirable, strict=True))


def _sampled_labels(setting: Setting) -> list[tuple[Example, bool]]:
    count = _count(setting)
    problems = setting.task.train_prompts(min(count, _PROMPTS), setting.config.seed)
    rounds = math.ceil(count / len(problems))
    groups = setting.sample_init(problems, rounds, "labels")
    labelled = [(group[turn][0], setting.accepts(group[turn][1])) for turn in range(rounds) for group in groups][:count]
    if len({desirable for _, desirable in labelled}) == 1:
        raise RunError(
            f"the reward accepts {'all' if labelled[0][1] else 'none'} of {count} samples of the init on"
            f" {len(problems)} training prompts: there is nothing to tell apart"
        )
    return labelled


def _count(setting: Setting) -> int:
    return int(setting.config.algorithm.steps * setting.config.algorithm.batch_size)
