"""A reward in a process of its own: its numbers, its failures, its time limit."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
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


def leaves(prompt: Any, completion: str, reference: Any) -> float:
    """Start processes that outlive this one: a child, a fork, and one with a session and no parent of its own."""
    sleep = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(3600)"
    command = [sys.executable, "-S", "-c", sleep]
    subprocess.Popen([*command, f"{reference}/child"])
    if os.fork() == 0:
        Path(f"{reference}/fork").write_text(str(os.getpid()))
        time.sleep(3600)
    if os.fork() == 0:
        subprocess.Popen([*command, f"{reference}/daemon"], start_new_session=True)
        os._exit(0)
    while len(list(Path(reference).iterdir())) < 3:
        time.sleep(0.01)
    if completion == "hang":
        time.sleep(3600)
    if completion == "crash":
        os._exit(3)
    return 1.0


def closes(prompt: Any, completion: str, reference: Any) -> float:
    sys.stdin.close()
    sys.stdout.close()
    return 0.5


def reads(prompt: Any, completion: str, reference: Any) -> float:
    return float(len(sys.stdin.read()))


def exits(prompt: Any, completion: str, reference: Any) -> float:
    sys.exit(0)


def leaves_at_once(prompt: Any, completion: str, reference: Any) -> float:
    os._exit(0)


def interrupts(prompt: Any, completion: str, reference: Any) -> float:
    raise KeyboardInterrupt


class Own(BaseException):
    pass


def raises_own(prompt: Any, completion: str, reference: Any) -> float:
    raise Own("one\ntwo " + 10_000 * "x")


def text(prompt: Any, completion: str, reference: Any) -> str:
    return "1.0"


def right(prompt: Any, completion: str, reference: Any) -> bool:
    return bool(completion == reference)


def single(prompt: Any, completion: str, reference: Any) -> np.float32:
    return np.float32(0.25)


def array(prompt: Any, completion: str, reference: Any) -> Any:
    return np.zeros(3)


def huge(prompt: Any, completion: str, reference: Any) -> int:
    return 10**400


NOT_A_FUNCTION = 3


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
        ("nothing", r"^task\.reward=mine gave None, which is no number, for the completion 'some text'$"),
        ("text", r"^task\.reward=mine gave '1\.0', which is no number, for the completion 'some text'$"),
        ("array", r"^task\.reward=mine raised TypeError: "),
        ("huge", r"^task\.reward=mine raised OverflowError: "),
        ("exits", r"^task\.reward=mine raised SystemExit: 0$"),
        ("interrupts", r"^task\.reward=mine raised KeyboardInterrupt$"),
        ("raises_own", r"^task\.reward=mine raised Own: one two x{200,300}\.\.\.$"),
        ("leaves_at_once", r"^task\.reward=mine did not end on the completion 'some text' and ended its process$"),
        ("NOT_A_FUNCTION", r"^task\.reward=mine raised TypeError: NOT_A_FUNCTION is int, not a function$"),
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


@pytest.mark.parametrize(
    ("name", "completion", "reward"),
    [("closes", "", 0.5), ("reads", "", 0.0), ("right", "a", 1.0), ("right", "b", 0.0), ("single", "", 0.25)],
)
def test_a_number_is_a_reward_whatever_its_type_and_whatever_is_done_to_standard_input_and_output(
    name: str, completion: str, reward: float
) -> None:
    mine = judge(name)
    assert [mine.score("p", completion, "a") for _ in range(2)] == [reward, reward]


def test_a_completion_longer_than_a_pipe_holds_is_judged_and_its_writing_has_the_time_limit_too() -> None:
    assert judge("length").score("p", "x" * 1_000_000, 10) == 100_000
    mine = judge("length")
    mine.start()
    assert mine._process is not None
    for stopped in (scorer := psutil.Process(mine._process.pid).children()):
        stopped.suspend()
    mine._timeout_s = 0.2
    with pytest.raises(RewardError, match=r"within 0\.2 s$"):
        mine.score("p", "x" * 1_000_000, 10)
    assert not any(process.is_running() for process in scorer)


def test_a_late_completion_may_be_worth_a_number_and_the_next_is_judged() -> None:
    mine = Judge("task.reward=mine", f"{__name__}.hangs", None, 0.3, late=0.0)
    assert [mine.score("p", completion, None) for completion in ("x", "hang", "x")] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("how", ["hang", "crash", "done"])
def test_nothing_that_a_reward_has_started_outlives_its_judge(how: str, tmp_path: Path) -> None:
    mine = judge("leaves", timeout_s=3.0 if how == "hang" else 30.0)
    if how == "done":
        assert mine.score("p", how, str(tmp_path)) == 1.0
    else:
        with pytest.raises(RewardError, match=r"^task\.reward=mine did not end on the completion "):
            mine.score("p", how, str(tmp_path))
    del mine
    assert_gone(tmp_path, 0.0)


def test_nothing_that_a_reward_has_started_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    code = f"from {__name__} import judge; judge('leaves').score('p', 'hang', {str(tmp_path)!r})"
    run = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    while len(list(tmp_path.iterdir())) < 3:
        assert run.poll() is None
        time.sleep(0.02)
    time.sleep(0.1)
    run.kill()
    run.wait()
    assert_gone(tmp_path, 5.0)


def assert_gone(directory: Path, seconds: float) -> None:
    numbers = {int(file.read_text()) for file in directory.iterdir()}
    assert len(numbers) == 3
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(psutil.pid_exists, numbers)):
        time.sleep(0.02)
    alive = [number for number in numbers if psutil.pid_exists(number)]
    assert not [number for number in alive if psutil.Process(number).status() != psutil.STATUS_ZOMBIE]
