"""Integer arithmetic: ``12+34=`` -> ``46``."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable

from subnetray.config import ArithmeticTask, ConfigError
from subnetray.tasks.base import Problem
from subnetray.tasks.split import Split, is_held_out

_OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}


class Arithmetic(Split):
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
        held_out = [problem for problem in problems if is_held_out(problem.prompt)]
        super().__init__((problem for problem in problems if not is_held_out(problem.prompt)), held_out)
        if not self.training or not held_out:
            raise ConfigError(
                f"task.max_left and task.max_right must leave problems both for training and held-out, but "
                f"{config.name} has only {len(problems)} in all"
            )

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
