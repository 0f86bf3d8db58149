"""What a policy is asked, and how its answers are judged."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from subnetray.config.checks import at_least, expand_home, freeze, one_of, positive, require


@dataclass(frozen=True)
class ArithmeticTask:
    """``12+34=`` -> ``46=``: any form of the number is rewarded; a held-out tenth of all problems."""

    accept: ClassVar[float] = 1.0

    name: str = "arithmetic"
    operators: tuple[str, ...] = ("+", "-")  # some of +, -, *
    max_left: int = 99  # the largest number before the operator
    max_right: int = 99  # the largest number after it
    size: int | None = None  # training problems, a part of all that data_seed chooses; null: all
    data_seed: int = 0  # which problems: those of two seeds have none in common, as long as there are enough

    def __post_init__(self) -> None:
        freeze(self, "operators")
        require(len(self.operators) > 0, "task.operators", "a list of +, -, *", list(self.operators))
        for operator in self.operators:
            one_of("task.operators", operator, ("+", "-", "*"))
        for key in ("max_left", "max_right"):
            require(1 <= getattr(self, key) <= 999, f"task.{key}", "a whole number from 1 to 999", getattr(self, key))
        if self.size is not None:
            at_least("task.size", self.size, 1)
        require(0 <= self.data_seed < 2**31, "task.data_seed", "a whole number from 0 to 2147483647", self.data_seed)


@dataclass(frozen=True)
class ReasoningGymTask:
    """Problems of one generator of the package ``reasoning-gym``, rewarded by its verifier; a tenth is held out."""

    name: str = "reasoning_gym"
    generator: str = "chain_sum"  # one of reasoning-gym's, by its name there
    # The generator's own, as in task.parameters={min_terms:2,max_terms:3}; its size and seed are the two keys below.
    parameters: dict[str, Any] = field(default_factory=dict)
    size: int = 1024  # problems to generate, held-out ones among them
    data_seed: int = 0  # of the generator: other problems of the same kind
    chat: bool = True  # the question is a user's message, to which the tokenizer's chat template is applied
    instruction: str = ""  # follows the question, after an empty line
    accept: float = 1.0  # the least reward of a right completion: verifiers give less for a part
    timeout_s: float = 10.0  # of the verifier, for one completion

    def __post_init__(self) -> None:
        require(bool(self.generator), "task.generator", "the name of a generator", self.generator)
        for key in ("size", "seed"):
            require(key not in self.parameters, "task.parameters", "without size and seed", self.parameters)
        at_least("task.size", self.size, 1)
        require(0 <= self.data_seed < 2**31, "task.data_seed", "a whole number from 0 to 2147483647", self.data_seed)
        positive("task.accept", self.accept)
        positive("task.timeout_s", self.timeout_s)


@dataclass(frozen=True)
class DatasetTask:
    """Records with a prompt, and what else the columns hold, from a local file or directory or the Hugging Face hub."""

    name: str
    # A .jsonl, .json, .csv, .tsv or .parquet file, a directory in the hub's layout, or the hub's id of a data set.
    path: str
    subset: str | None = None  # a configuration of the data set, where it has several
    revision: str | None = None  # a commit, branch or tag of the hub; null: its newest
    split: str = "train"  # the records to train on
    held_out_split: str | None = None  # the records to evaluate on; null: a tenth of the split
    # A column, or a key within one (a.b), as all below: text, or messages, of which a completion is the last.
    prompt: str = "prompt"
    gold: str | None = None  # a right, or the preferred, completion
    rejected: str | None = None  # a worse one
    reference: str | None = None  # what the reward compares with; null: gold
    # exact, number, math (docs/tasks.md has their rules), or package.module.function of your own; null: none
    reward: str | None = None
    chat: bool = False  # a prompt that is text is a user's message, to which the tokenizer's chat template is applied
    instruction: str = ""  # follows a prompt that is text, after an empty line
    accept: float = 1.0  # the least reward of a right completion
    timeout_s: float = 10.0  # of the reward, for one completion

    REWARDS: ClassVar[tuple[str, ...]] = ("exact", "number", "math")

    def __post_init__(self) -> None:
        require(bool(self.path), "task.path", "a file, a directory or a Hugging Face id", self.path)
        expand_home(self, "task.", "path")
        if os.path.exists(self.path):  # noqa: PTH110 - raises for nothing that may stand in a path
            # Runs have a working directory of their own.
            object.__setattr__(self, "path", str(Path(self.path).absolute()))
        if self.reward is not None:
            parts = self.reward.split(".")
            require(
                self.reward in self.REWARDS or (len(parts) > 1 and all(part.isidentifier() for part in parts)),
                "task.reward",
                f"one of {', '.join(self.REWARDS)}, or a function as package.module.function",
                self.reward,
            )
        compares = self.reward in self.REWARDS
        require(
            not compares or self.reference is not None or self.gold is not None,
            "task.reference",
            f"the column that task.reward={self.reward} compares with",
            self.reference,
        )
        require(
            self.rejected is None or self.gold is not None,
            "task.gold",
            f"the column of completions preferred to those in task.rejected={self.rejected}",
            self.gold,
        )
        positive("task.accept", self.accept)
        positive("task.timeout_s", self.timeout_s)


TASKS = (ArithmeticTask, ReasoningGymTask, DatasetTask)
