"""What a task is: prompts, a verifiable reward, gold completions and a held-out split."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt and its gold completion, both as the policy sees them (no end-of-sequence token)."""

    prompt: str
    gold: str


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
        """Return 1.0 for a right completion and 0.0 for any other text; the text is never executed."""
        ...

    def corrupted(self, problem: Problem, rng: random.Random) -> str:
        """Return a wrong completion that looks like the gold one."""
        ...
