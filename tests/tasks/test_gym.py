"""Problems of reasoning-gym: the package's own problems and scores, split, and no answer is ever executed."""

from __future__ import annotations

import inspect
import random
import re
from pathlib import Path

import pytest

from subnetray import tasks
from subnetray.config import ConfigError, ReasoningGymTask
from subnetray.tasks import RewardError, gym
from subnetray.tasks.split import is_held_out, text_of

reasoning_gym, _ = gym.package()
CONFIG = ReasoningGymTask(generator="chain_sum", parameters={"max_terms": 2, "max_digits": 2}, size=200)


@pytest.fixture(scope="module")
def task() -> gym.ReasoningGym:
    return gym.ReasoningGym(CONFIG)


def test_problems_are_the_package_s_and_each_is_there_once(task: gym.ReasoningGym) -> None:
    data = reasoning_gym.create_dataset("chain_sum", seed=0, size=200, max_terms=2, max_digits=2)
    expected = {entry["question"]: entry["answer"] for entry in data}
    assert {problem.prompt[0]["content"]: problem.gold for problem in task.problems} == expected  # type: ignore[index]
    assert len(task.problems) == len(expected)
    assert {is_held_out(problem.prompt) for problem in task.training} == {False}
    assert {is_held_out(problem.prompt) for problem in task.held_out(1000)} == {True}
    assert gym.ReasoningGym(CONFIG).train_prompts(30, 5) == task.train_prompts(30, 5)


def test_the_reward_is_the_verifier_s(task: gym.ReasoningGym) -> None:
    for problem in task.held_out(5):
        assert task.reward(problem, problem.gold) == 1.0
        assert task.reward(problem, f" {problem.gold}\n") == 1.0
        assert task.reward(problem, f"It is <answer>{problem.gold}</answer>, I think.") == 1.0
        wrong = f"It is {problem.gold}"
        assert task.reward(problem, wrong) == len(problem.gold) / len(wrong)  # its share for part of a text
        assert task.reward(problem, "nothing") == task.reward(problem, "") == task.reward(problem, " ") == 0.0


def test_what_a_verifier_cannot_parse_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"size": 3, "seed": 0}
    data = reasoning_gym.create_dataset("prime_factorization", **values)
    with pytest.raises(ValueError, match="invalid literal"):
        data.score_answer("two times three", data[0])
    reward = gym.verifier("prime_factorization", values)
    assert reward(data[0]["question"], "two times three", 0) == 0.0
    assert reward(data[0]["question"], data[0]["answer"], 0) == 1.0

    def broken(*_: object) -> float:
        raise KeyError("metadata")

    monkeypatch.setattr(type(data), "score_answer", broken)
    with pytest.raises(KeyError, match="metadata"):
        reward(data[0]["question"], data[0]["answer"], 0)


def test_a_prompt_may_be_plain_text_with_an_instruction() -> None:
    plain = ReasoningGymTask(generator="chain_sum", size=40, chat=False, instruction="Only the number.")
    task = gym.ReasoningGym(plain)
    (problem,) = task.held_out(1)
    assert str(problem.prompt).endswith("\n\nOnly the number.")
    assert task.reward(problem, problem.gold) == 1.0


def test_a_worse_completion_is_the_answer_to_another_problem() -> None:
    task = gym.ReasoningGym(ReasoningGymTask(generator="chain_sum", size=40))
    answers = {problem.gold for problem in task.training}
    rng = random.Random(0)
    for problem in task.problems[:10]:
        worse = task.corrupted(problem, rng)
        assert worse in answers - {problem.gold}
        assert task.reward(problem, worse) < task.reward(problem, problem.gold)


def test_a_verifier_that_takes_any_answer_has_no_worse_one(monkeypatch: pytest.MonkeyPatch) -> None:
    task = gym.ReasoningGym(ReasoningGymTask(generator="chain_sum", size=40))
    monkeypatch.setattr(task, "reward", lambda problem, completion: 1.0)
    with pytest.raises(RewardError, match="there is no worse completion to train on"):
        task.corrupted(task.problems[0], random.Random(0))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (ReasoningGymTask(generator="nope"), r"^task\.generator must be one of ab, .*, not 'nope'$"),
        (ReasoningGymTask(generator="countdown"), r"^task\.generator=countdown is not offered: its verifier executes"),
        (ReasoningGymTask(parameters={"nope": 1}), r"^task\.parameters do not suit chain_sum \(TypeError: .*'nope'"),
        (ReasoningGymTask(parameters={"min_terms": 9}), r"^task\.parameters do not suit chain_sum \(AssertionError: "),
    ],
)
def test_bad_input_is_one_sentence(config: ReasoningGymTask, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tasks.check(config)


def test_too_few_problems_for_a_split() -> None:
    with pytest.raises(ConfigError, match=r"^task\.size must leave problems both"):
        tasks.load(ReasoningGymTask(size=1))


def test_every_verifier_that_could_execute_an_answer_is_refused() -> None:
    """What the classes' sources call; two execute text of their own making: entries of the data, their own answers."""
    own = {"codeio", "number_sorting"}
    found = {
        name
        for name, (dataset, _) in reasoning_gym.factory.DATASETS.items()
        if re.search(r"\b(eval|exec|parse_expr|sympify)\(", inspect.getsource(dataset))
    }
    assert found - own <= gym.EXECUTE_ANSWERS
    assert gym.EXECUTE_ANSWERS - {"composite"} <= found


def test_number_sorting_executes_nothing_of_a_completion(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    task = gym.ReasoningGym(ReasoningGymTask(generator="number_sorting", size=20))
    problem = task.held_out(1)[0]
    assert task.reward(problem, problem.gold) == 1.0
    assert task.reward(problem, f"[__import__('pathlib').Path({str(canary)!r}).touch()]") < 1
    assert not canary.exists()


def test_the_key_is_of_the_problems_not_of_the_label() -> None:
    key = tasks.task_key(CONFIG)
    assert key["version"] == "0.1.25"
    assert {"generator", "parameters", "size", "data_seed", "chat", "instruction", "accept"} <= key.keys()
    assert not {"name", "timeout_s"} & key.keys()
    assert text_of("a") != text_of(({"role": "user", "content": "a"},))
