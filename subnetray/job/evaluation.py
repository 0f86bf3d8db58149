"""Held-out accuracy of a policy, greedy and sampled, and how it answers: at what length, with what entropy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from subnetray import tasks
from subnetray.algorithms import Setting
from subnetray.algorithms.shared.setting import Example
from subnetray.rollout.sampling import Samples


@dataclass(frozen=True)
class Score:
    """Of ``n`` completions: their mean reward, the share that is right and its standard error (over prompts).

    ``completion_length``: mean of their tokens, the end of sequence included. ``truncated_share``: of those that were
    cut off before it. ``entropy``: mean −log p of their tokens as the engine drew them, in nats, which estimates the
    entropy of the policy at ``rollout.temperature``; None of greedy ones.
    """

    reward: float
    accuracy: float
    accuracy_se: float
    n: int
    completion_length: float
    truncated_share: float
    entropy: float | None


def evaluate(setting: Setting) -> tuple[dict[str, Score], list[Example]]:
    """Score the published policy on the held-out prompts: ``greedy``, and one ``sampled`` completion a prompt.

    The latter are returned too. Without a reward nothing is scored. The seed of the samples is the run's, so that
    before and after are compared on common random numbers.
    """
    if "reward" not in tasks.offers(setting.config.task):
        return {}, []
    problems = setting.task.held_out(setting.config.evaluation.prompts)
    prompts = setting.encode(problems)

    def score(samples: Samples, sampled: bool) -> Score:
        rewards = [
            setting.task.reward(problem, setting.decode(ids))
            for problem, ids in zip(problems, samples.completions, strict=True)
        ]
        return summarise(rewards, setting.accepts, samples, setting.tokenizer.eos_token_id, sampled)

    greedy = setting.policy.sample(prompts, setting.sampling("greedy", temperature=0.0))
    sampled = setting.policy.sample(prompts, setting.sampling("evaluation"))
    examples = [Example(*pair) for pair in zip(prompts, sampled.completions, strict=True)]
    return {"greedy": score(greedy, False), "sampled": score(sampled, True)}, examples


def summarise(
    rewards: Sequence[float], accepts: Callable[[float], bool], samples: Samples, eos: int, sampled: bool
) -> Score:
    """Summary of at least one completion; ``accepts`` says of which reward the completion is right."""
    n = len(rewards)
    accuracy = sum(map(accepts, rewards)) / n
    logprobs = [value for values in samples.logprobs for value in values]
    return Score(
        reward=statistics.fmean(rewards),
        accuracy=accuracy,
        accuracy_se=math.sqrt(accuracy * (1 - accuracy) / n),
        n=n,
        completion_length=statistics.fmean(map(len, samples.completions)),
        truncated_share=statistics.fmean(float(ids[-1:] != [eos]) for ids in samples.completions),
        entropy=-statistics.fmean(logprobs) if sampled else None,
    )
