"""Problems in two parts, training and held-out, by the text of their prompts alone."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable

from subnetray.tasks.base import Problem, Prompt


class Split:
    """Training problems in the order given, held-out ones in that of their digests: a prefix is an unbiased sample."""

    def __init__(self, training: Iterable[Problem], held_out: Iterable[Problem]) -> None:
        self.training = tuple(training)
        self._held_out = tuple(sorted(held_out, key=lambda problem: _digest(problem.prompt)))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All of them."""
        return self.training + self._held_out

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


def is_held_out(prompt: Prompt) -> bool:
    """Whether the prompt belongs to the held-out tenth, whatever set of problems it is in."""
    return int.from_bytes(_digest(prompt)[:8], "big") % 10 == 0


def text_of(prompt: Prompt) -> str:
    """The text itself, or messages as JSON: what tells prompts apart."""
    return prompt if isinstance(prompt, str) else json.dumps(list(prompt), sort_keys=True, ensure_ascii=False)


def chat(text: str, instruction: str, messages: bool) -> Prompt:
    """A question as a prompt: the instruction after it, and the whole as a user's message if ``messages``."""
    content = f"{text}\n\n{instruction}" if instruction else text
    return ({"role": "user", "content": content},) if messages else content


def _digest(prompt: Prompt) -> bytes:
    # Python's own hash of a string differs from process to process.
    return hashlib.sha256(text_of(prompt).encode()).digest()
