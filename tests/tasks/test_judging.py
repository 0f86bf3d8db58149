"""A reward in a process of its own: its numbers, its failures, its time limit."""

from __future__ import annotations

import math
import os
import signal
import time
from typing import Any

import pytest

from subnetray.tasks import RewardError
from subnetray.tasks.judging import Judge


def length(prompt: Any, completion: str, reference: Any) -> float:
    print("a reward may print")
    return len(completion) / reference


def raises(prompt: Any, completion: str, reference: Any) -> float:
    raise KeyError("no such key")


def nan(prompt: Any, completion: str, reference: Any) -> float:
    return math.nan


def nothing(prompt: Any, completion: str, reference: Any) -> None:
    return None


def hangs(prompt: Any, completion: str, reference: Any) -> float:
    if completion == "hang":
        time.sleep(3600)
    return 1.0


def dies(prompt: Any, completion: str, reference: Any) -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def last_role(prompt: Any, completion: str, reference: Any) -> float:
    return float(prompt[-1]["role"] == completion)


def judge(name: str, timeout_s: float = 60.0) -> Judge:
    return Judge("task.reward=mine", f"{__name__}.{name}", None, timeout_s)


def test_rewards_are_the_function_s_whatever_it_prints() -> None:
    mine = judge("length")
    assert [mine.score("p", "x" * n, 4) for n in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert judge("last_role").score(({"role": "user", "content": "hé\n"},), "user", None) == 1.0


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("raises", r"^task\.reward=mine raised KeyError: 'no such key'$"),
        ("nan", r"^task\.reward=mine gave nan for the completion 'some text'$"),
        ("nothing", r"^task\.reward=mine raised TypeError: "),
        ("dies", r"^task\.reward=mine did not end on the completion 'some text' and ended its process$"),
        ("no_such", r"^task\.reward=mine raised AttributeError: .* has no attribute 'no_such'$"),
    ],
)
def test_what_is_no_reward_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(RewardError, match=sentence):
        judge(name).score("p", "some text", 1)


def test_a_reward_that_hangs_is_killed_and_the_next_has_a_process_of_its_own() -> None:
    mine = judge("hangs", timeout_s=30.0)
    assert mine.score("p", "x", None) == 1.0
    process = mine._process
    assert process is not None
    mine._timeout_s = 0.2
    with pytest.raises(RewardError, match=r"^task\.reward=mine did not end on the completion 'hang' within 0\.2 s$"):
        mine.score("p", "hang", None)
    assert process.returncode == -signal.SIGKILL
    mine._timeout_s = 30.0
    assert mine.score("p", "x", None) == 1.0


def test_its_process_ends_with_it() -> None:
    mine = judge("length")
    mine.score("p", "x", 1)
    process = mine._process
    assert process is not None
    assert process.poll() is None
    del mine
    assert process.poll() is not None
