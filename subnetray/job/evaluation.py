"""Held-out accuracy of a policy, greedy and sampled."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from subnetray import tasks
from subnetray.algorithms import Setting
from subnetray.rollout.sampling import Samples


@dataclass(frozen=True)
class Score:
    """Of ``n`` completions: their mean reward, the share that is right and its standard error (over prompts)."""

    reward: float
    accuracy: float
    accuracy_se: float
    n: int


def evaluate(setting: Setting) -> dict[str, Score]:
    """Score the published policy on the held-out prompts: ``greedy``, and one ``sampled`` completion a prompt.

    Without a reward nothing is scored. The seed of the samples is the run's, so that before and after are compared on
    common random numbers.
    """
    if "reward" not in tasks.offers(setting.config.task):
        return {}
    problems = setting.task.held_out(setting.config.evaluation.prompts)
    prompts = [setting.encode(problem.prompt) for problem in problems]

    def score(samples: Samples) -> Score:
        return summarise(
            [
                setting.task.reward(problem, setting.decode(ids))
                for problem, ids in zip(problems, samples.completions, strict=True)
            ],
            setting.accepts,
        )

    return {
        "greedy": score(setting.policy.sample(prompts, setting.sampling("greedy", temperature=0.0))),
        "sampled": score(setting.policy.sample(prompts, setting.sampling("evaluation"))),
    }


def summarise(rewards: Sequence[float], accepts: Callable[[float], bool]) -> Score:
    """Summary of at least one reward; ``accepts`` says of which the completion is right."""
    n = len(rewards)
    accuracy = sum(map(accepts, rewards)) / n
    return Score(
        reward=statistics.fmean(rewards),
        accuracy=accuracy,
        accuracy_se=math.sqrt(accuracy * (1 - accuracy) / n),
        n=n,
    )
