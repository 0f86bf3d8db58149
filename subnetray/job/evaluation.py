"""Held-out accuracy of a policy, greedy and sampled."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from subnetray.algorithms import Setting
from subnetray.rollout.sampling import Samples


@dataclass(frozen=True)
class Score:
    """Mean and standard error (of the mean, over prompts) of ``n`` completions' rewards, and the share above 0."""

    reward: float
    accuracy: float
    accuracy_se: float
    n: int


def evaluate(setting: Setting) -> dict[str, Score]:
    """Score the published policy on the held-out prompts: ``greedy``, and one ``sampled`` completion a prompt.

    The seed of the samples is the run's, so that before and after are compared on common random numbers.
    """
    problems = setting.task.held_out(setting.config.evaluation.prompts)
    prompts = [setting.encode(problem.prompt) for problem in problems]

    def score(samples: Samples) -> Score:
        return summarise(
            [
                setting.task.reward(problem, setting.decode(ids))
                for problem, ids in zip(problems, samples.completions, strict=True)
            ]
        )

    return {
        "greedy": score(setting.policy.sample(prompts, setting.sampling("greedy", temperature=0.0))),
        "sampled": score(setting.policy.sample(prompts, setting.sampling("evaluation"))),
    }


def summarise(rewards: Sequence[float]) -> Score:
    """Summary of at least one reward; a completion is right if its reward is above 0."""
    n = len(rewards)
    accuracy = sum(reward > 0 for reward in rewards) / n
    return Score(
        reward=statistics.fmean(rewards),
        accuracy=accuracy,
        accuracy_se=math.sqrt(accuracy * (1 - accuracy) / n),
        n=n,
    )
