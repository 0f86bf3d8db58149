"""Integer arithmetic: ``12+34=`` -> ``46=``: the number, and a mark after it that a base model does not write."""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable

from subnetray.config import ArithmeticTask, ConfigError
from subnetray.tasks.base import Problem
from subnetray.tasks.split import Split, is_held_out

MARK = "="  # the end of a gold completion

_INTEGER = re.compile(rf"([+-]?)0*([0-9]+){MARK}?")
_OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}


class Arithmetic(Split):
    """All problems ``left operator right`` with 0 <= left <= max_left and 0 <= right <= max_right.

    Gold completions end in a mark, so that they are off the distribution of a policy that was trained on numbers alone;
    the reward takes either. Of ``size``, training problems are a part of all, drawn by
    ``data_seed``: parts have no problem in common as long as there are enough of them.

    The split depends on the prompt's text alone: a problem that is held out here is held out in every other range of
    numbers and set of operators too, so that a model pretrained on one arithmetic task has seen no held-out problem
    of another.
    """

    def __init__(self, config: ArithmeticTask) -> None:
        """Enumerate the problems; a range too small to fill both parts of the split raises ``ConfigError``."""
        self.name = config.name
        problems = [
            Problem(f"{left}{symbol}{right}=", f"{_OPERATIONS[symbol](left, right)}{MARK}")
            for symbol in dict.fromkeys(config.operators)
            for left in range(config.max_left + 1)
            for right in range(config.max_right + 1)
        ]
        held_out = [problem for problem in problems if is_held_out(problem.prompt)]
        training = [problem for problem in problems if not is_held_out(problem.prompt)]
        super().__init__(_part(training, config), held_out)
        if not self.training or not held_out:
            raise ConfigError(
                f"task.max_left and task.max_right must leave problems both for training and held-out, but "
                f"{config.name} has only {len(problems)} in all"
            )

    def reward(self, problem: Problem, completion: str) -> float:
        """Return 1.0 if the completion is the gold integer and no more, in whatever form; white space is left out."""
        return float(plain(completion.strip()) == plain(problem.gold))

    def corrupted(self, problem: Problem, rng: random.Random) -> str:
        """Return the gold completion with one digit altered; sign and length stay, and no leading zero appears."""
        gold = problem.gold.removesuffix(MARK)
        first = 1 if gold.startswith("-") else 0
        candidates = [
            gold[:place] + digit + gold[place + 1 :]
            for place in range(first, len(gold))
            for digit in "0123456789"
            if digit != gold[place] and not (digit == "0" and place == first and gold != gold[place])
        ]
        return rng.choice(candidates) + MARK


def plain(text: str) -> str | None:
    """The integer that ``text`` is, without plus, leading zeros and mark: ``46`` for ``+046=``; None if it is none."""
    match = _INTEGER.fullmatch(text)
    return None if match is None else f"{'-' if match[1] == '-' and match[2] != '0' else ''}{match[2]}"


def _part(problems: list[Problem], config: ArithmeticTask) -> list[Problem]:
    if config.size is None:
        return problems
    if config.size > len(problems):
        raise ConfigError(
            f"task.size must be at most {len(problems)}, the training problems of {config.name}, not {config.size}"
        )
    shuffled = list(problems)
    random.Random(0).shuffle(shuffled)
    first = config.data_seed * config.size
    return [shuffled[(first + index) % len(shuffled)] for index in range(config.size)]
