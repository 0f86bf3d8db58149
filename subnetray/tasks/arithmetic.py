"""Integer arithmetic: ``12+34=`` -> ``46``."""

from __future__ import annotations

import hashlib
import operator
import random
from collections.abc import Callable

from subnetray.config import ArithmeticTask, ConfigError
from subnetray.tasks.base import Problem

_OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}


class Arithmetic:
    """All problems ``left operator right`` with 0 <= left <= max_left and 0 <= right <= max_right.

    The split depends on the prompt's text alone: a problem that is held out here is held out in every other range of
    numbers and set of operators too, so that a model pretrained on one arithmetic task has seen no held-out problem
    of another.
    """

    def __init__(self, config: ArithmeticTask) -> None:
        """Enumerate the problems; a range too small to fill both parts of the split raises ``ConfigError``."""
        self.name = config.name
        problems = [
            Problem(f"{left}{symbol}{right}=", str(_OPERATIONS[symbol](left, right)))
            for symbol in dict.fromkeys(config.operators)
            for left in range(config.max_left + 1)
            for right in range(config.max_right + 1)
        ]
        self.training = tuple(problem for problem in problems if not is_held_out(problem.prompt))
        # Sorted by digest, any prefix is an unbiased sample of the held-out problems.
        self._held_out = tuple(sorted((p for p in problems if is_held_out(p.prompt)), key=lambda p: _digest(p.prompt)))
        if not self.training or not self._held_out:
            raise ConfigError(
                f"task.max_left and task.max_right must leave problems both for training and held-out, but "
                f"{config.name} has only {len(problems)} in all"
            )

    def train_prompts(self, count: int, seed: int) -> list[Problem]:
        """See ``Task.train_prompts``."""
        rng = random.Random(seed)
        problems: list[Problem] = []
        while len(problems) < count:
            epoch = list(self.training)
            rng.shuffle(epoch)
            problems += epoch[: count - len(problems)]
        return problems

    def held_out(self, count: int) -> list[Problem]:
        """See ``Task.held_out``."""
        return list(self._held_out[:count])

    def reward(self, problem: Problem, completion: str) -> float:
        """Return 1.0 if the completion is the gold text, white space around it aside, else 0.0."""
        return float(completion.strip() == problem.gold)

    def corrupted(self, problem: Problem, rng: random.Random) -> str:
        """Return the gold number with one digit altered; sign and length stay, and no leading zero appears."""
        gold = problem.gold
        first = 1 if gold.startswith("-") else 0
        candidates = [
            gold[:place] + digit + gold[place + 1 :]
            for place in range(first, len(gold))
            for digit in "0123456789"
            if digit != gold[place] and not (digit == "0" and place == first and gold != gold[place])
        ]
        return rng.choice(candidates)


def is_held_out(prompt: str) -> bool:
    """Whether the prompt belongs to the held-out tenth."""
    return int.from_bytes(_digest(prompt)[:8], "big") % 10 == 0


def _digest(prompt: str) -> bytes:
    # Python's own hash of a string differs from process to process.
    return hashlib.sha256(prompt.encode()).digest()
