"""What a task is: prompts, what is known of good and bad completions, a verifiable reward, a held-out split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# Text as the policy sees it, or messages (role, content) that the tokenizer's chat template makes into text.
Prompt = str | Sequence[dict[str, str]]


class RewardError(RuntimeError):
    """A reward that raised, gave no finite number or did not end in time: the run cannot go on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt and what its task knows of it; completions have no end-of-sequence token."""

    prompt: Prompt
    gold: str = ""  # a right, or the preferred, completion; empty where the task offers none
    rejected: str | None = None  # a worse one, where the data have it
    reference: Any = None  # what the reward compares a completion with


class Task(Protocol):
    """The problems of one data set, split once and for all into training and held-out."""

    @property
    def name(self) -> str:
        """The label used in configs and tables."""
        ...

    def train_prompts(self, count: int, seed: int) -> list[Problem]:
        """Return ``count`` training problems in an order that ``seed`` alone decides.

        One shuffled pass follows another, so that no problem is seen twice before all were seen once; a smaller
        ``count`` gives a prefix of a larger one.
        """
        ...

    def held_out(self, count: int) -> list[Problem]:
        """Return the first ``count`` held-out problems (all of them if there are fewer), in a fixed order."""
        ...

    def reward(self, problem: Problem, completion: str) -> float:
        """Return a finite number, ``accept`` of the config or more for a right completion; raises ``RewardError``.

        An empty completion earns 0. The text is never executed.
        """
        ...

    def corrupted(self, problem: Problem, rng: random.Random) -> str:
        """Return a wrong, or worse, completion that looks like the gold one."""
        ...
