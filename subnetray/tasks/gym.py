"""Problems of the package reasoning-gym (arXiv 2505.24760): any generator by its name, its verifier as the reward."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from subnetray.config import ConfigError, ReasoningGymTask
from subnetray.tasks.base import Problem, RewardError
from subnetray.tasks.judging import Judge
from subnetray.tasks.split import Split, chat, is_held_out, text_of

# Their verifiers read an answer by executing it (reasoning-gym 0.1.25); a composite may hold any of them.
EXECUTE_ANSWERS = frozenset(
    (
        *("binary_matrix", "countdown", "intermediate_integration", "n_queens", "polynomial_multiplication"),
        *("puzzle24", "simple_integration", "spiral_matrix", "string_insertion", "composite"),
    )
)
_DRAWS = 64  # of another problem's answer, which may be this one's too
_NEED_PYCOSAT = frozenset(("zebra_puzzles",))


class ReasoningGym(Split):
    """``size`` problems of a generator, each prompt once."""

    def __init__(self, config: ReasoningGymTask) -> None:
        """Generate the problems; a generator that cannot make them raises ``ConfigError``."""
        self.name = config.name
        problems: dict[str, Problem] = {}
        for index, entry in enumerate(_entries(config)):
            prompt = chat(entry["question"], config.instruction, config.chat)
            # The verifier has the whole entry, which need not be plain data, made again from its index.
            problem = Problem(prompt, gold=str(entry["answer"]), reference=index)
            problems.setdefault(text_of(prompt), problem)
        training = [problem for problem in problems.values() if not is_held_out(problem.prompt)]
        held_out = [problem for problem in problems.values() if is_held_out(problem.prompt)]
        if not training or not held_out:
            raise ConfigError(
                f"task.size must leave problems both for training and held-out, but {config.generator} gives only"
                f" {len(problems)} different ones of {config.size}"
            )
        super().__init__(training, held_out)
        arguments = {"generator": config.generator, "values": _values(config)}
        self._judge = Judge(
            f"the verifier of task.generator={config.generator}", f"{__name__}.verifier", arguments, config.timeout_s
        )

    def reward(self, problem: Problem, completion: str) -> float:
        """The verifier's score, from 0 to 1, of what stands between <answer> tags, or else of the whole completion."""
        if not completion.strip():
            return 0.0
        return self._judge.score(problem.prompt, completion, problem.reference)

    def corrupted(self, problem: Problem, rng: random.Random) -> str:
        """Return the answer to another problem, drawn at random, that the verifier takes for a worse one to this.

        Raises :class:`RewardError` where it takes none of many for worse.
        """
        best = self.reward(problem, problem.gold)
        for _ in range(_DRAWS):
            other = rng.choice(self.training).gold
            if self.reward(problem, other) < best:
                return other
        raise RewardError(
            f"{self.name}: the verifier takes {_DRAWS} answers to other problems for as good as a problem's own: there"
            " is no worse completion to train on"
        )


def check(config: ReasoningGymTask) -> None:
    """Raise ``ConfigError`` for a generator or parameters that there are not, or that cannot be used here."""
    _dataset(config.generator, _values(config))


def key(config: ReasoningGymTask) -> dict[str, Any]:
    """Version of the package: other versions may generate other problems."""
    return {"version": version("reasoning-gym")}


def verifier(generator: str, values: dict[str, Any]) -> Callable[[Any, str, int], float]:
    """The reward, as ``tasks.judge`` makes it in its process."""
    data = _dataset(generator, values)
    # Importable only now: see `package`.
    from reasoning_gym.utils import extract_answer

    entry = cache(data.__getitem__)

    def reward(prompt: Any, completion: str, index: int) -> float:
        known = entry(index)
        if known["question"] not in (prompt if isinstance(prompt, str) else prompt[-1]["content"]):
            raise ValueError(f"problem {index} is another one each time it is generated")
        answer = extract_answer(completion)
        try:
            return float(data.score_answer(completion.strip() if answer is None else answer, known))
        except Exception:
            # Some raise where they cannot parse: no answer. One that cannot read its own is broken, and says so here.
            data.score_answer(known["answer"], known)
            return 0.0

    return reward


def _entries(config: ReasoningGymTask) -> list[dict[str, Any]]:
    data = _dataset(config.generator, _values(config))
    try:
        return [data[index] for index in range(config.size)]
    except Exception as error:
        raise ConfigError(
            f"task.parameters: {config.generator} fails to generate a problem ({type(error).__name__}: {error})"
        ) from error


def _values(config: ReasoningGymTask) -> dict[str, Any]:
    return {**config.parameters, "size": config.size, "seed": config.data_seed}


def _dataset(generator: str, values: dict[str, Any]) -> Any:
    gym, known = package()
    if generator not in known:
        raise ConfigError(
            f"task.generator must be one of {', '.join(sorted(known - EXECUTE_ANSWERS))}, not {generator!r}"
        )
    if generator in EXECUTE_ANSWERS:
        raise ConfigError(f"task.generator={generator} is not offered: its verifier executes the text of an answer")
    if generator in _NEED_PYCOSAT and not hasattr(sys.modules["pycosat"], "solve"):
        raise ConfigError(f"task.generator={generator} needs pycosat: write pip install pycosat (with a C compiler)")
    try:
        return gym.create_dataset(generator, **values)
    except Exception as error:
        # Whatever a generator thinks of its parameters: TypeError for unknown ones, AssertionError for impossible ones.
        raise ConfigError(f"task.parameters do not suit {generator} ({type(error).__name__}: {error})") from error


@cache
def package() -> tuple[Any, frozenset[str]]:
    """The module ``reasoning_gym``, importable without pycosat, and the names of its generators."""
    if find_spec("pycosat") is None:
        # Imported with the package and used by one generator; it comes as source only.
        sys.modules["pycosat"] = ModuleType("pycosat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about one of its dependencies
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    return reasoning_gym, frozenset(DATASETS)
