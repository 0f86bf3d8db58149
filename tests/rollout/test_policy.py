"""What a run sends to engines, and what it does when they do not answer."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch

from subnetray.rollout import EngineError, Policy, Samples, Sampling, SyncError
from subnetray.rollout.messages import Answer
from subnetray.rollout.policy import SOON_S, START_S
from subnetray.rollout.sync.transfer import Update, whole

SAMPLING = Sampling(1.0, 2, seed=0)


class _Ray:
    """Ray without processes: what it is asked for is answered at once, or fails at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed: list[Any] = []
        self.timeouts: list[float] = []
        monkeypatch.setattr(ray, "put", lambda update: ("stored", update))
        monkeypatch.setattr(ray, "get", self._get)
        monkeypatch.setattr(ray, "kill", lambda engine, no_restart: self.killed.append((engine, no_restart)))

    def _get(self, given: Any, timeout: float) -> Any:
        self.timeouts.append(timeout)
        if isinstance(given, BaseException):
            raise given
        return given


class _Engine:
    """A handle of an engine that gives these answers, one after another, and a list of what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []
        self.retries: list[int] = []
        self.waits = 0
        self.generate = SimpleNamespace(options=self._options)
        self.ready = SimpleNamespace(remote=self._ready)

    def _options(self, max_task_retries: int) -> Any:
        self.retries.append(max_task_retries)
        return SimpleNamespace(remote=self._generate)

    def _generate(self, *arguments: Any) -> Any:
        self.asked.append(arguments)
        return self._answers.pop(0)

    def _ready(self) -> int:
        self.waits += 1
        return 1


def _policy(*engines: _Engine, timeout_s: float = 50) -> Policy:
    policy = Policy(engines, "run", timeout_s=timeout_s)
    policy.publish({"weight": torch.zeros(2, dtype=torch.bfloat16)}, "init")
    return policy


def _drawn(*tokens: int) -> Samples:
    return Samples([[token] for token in tokens], [[-1.0] for _ in tokens])


def _dead() -> ray.exceptions.RayActorError:
    return ray.exceptions.RayActorError()


def test_updates_are_stored_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _Ray(monkeypatch)
    sender = Policy([object()], "run", timeout_s=1)
    update = Update("digest", None, {}, {"weight": whole(np.zeros(300, np.int16))})
    assert sender.put(update) == ("stored", update)
    assert sender.sync.bytes == 600


def test_answers_come_in_the_order_of_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """... whichever engine gives them, and however many at a time."""
    _Ray(monkeypatch)
    one, two = _Engine(Answer(_drawn(1)), Answer(_drawn(2, 3))), _Engine(Answer(_drawn(4, 5)))
    assert _policy(one, two).sample([[each] for each in range(1, 6)], SAMPLING) == _drawn(1, 2, 3, 4, 5)
    assert [(prompts, first) for _, prompts, _, first in one.asked] == [([[1], [2], [3]], 0), ([[2], [3]], 1)]
    assert [(prompts, first) for _, prompts, _, first in two.asked] == [([[4], [5]], 3)]


def test_an_engine_that_takes_nothing_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """... and no draw of fewer completions than were asked for."""
    _Ray(monkeypatch)
    engine = _Engine(Answer(None), Answer(None))
    with pytest.raises(SyncError, match="asks for more"):
        _policy(engine).sample([[1]], SAMPLING)
    assert [len(updates) for *_, updates in [(each[:4], each[4:]) for each in engine.asked]] == [0, 1]


@pytest.mark.parametrize(("fault", "killed"), [(_dead(), 0), (ray.exceptions.GetTimeoutError(), 1)])
def test_an_engine_that_does_not_answer_is_replaced_and_asked_again(
    fault: Exception, killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... by its run, which waits for the new process as long as one may take to start."""
    system, engine = _Ray(monkeypatch), _Engine(fault, Answer(_drawn(7)))
    assert _policy(engine).sample([[1]], SAMPLING) == _drawn(7)
    assert system.killed == [(engine, False)] * killed
    assert engine.waits == 1
    assert engine.retries == [0, 1]  # Ray asks nobody while the run does not wait for a start
    assert engine.asked[0] == engine.asked[1]
    assert system.timeouts == [pytest.approx(50, abs=5), pytest.approx(START_S, abs=5), 50]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_dead(), r"^a rollout engine died, and so did the one that replaced it: "),
        (
            ray.exceptions.GetTimeoutError(),
            r"^no answer from a rollout engine within 50 s \(rollout.timeout_s\), nor from the one that replaced it$",
        ),
    ],
)
def test_an_engine_that_is_lost_twice_is_an_error(
    fault: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Ray(monkeypatch)
    with pytest.raises(EngineError, match=message):
        _policy(_Engine(fault, fault)).sample([[1]], SAMPLING)


def _unavailable() -> ray.exceptions.ActorUnavailableError:
    return ray.exceptions.ActorUnavailableError("the connection was reset", None)


def test_an_engine_that_is_not_reached_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """... and is asked until it answers, at longer and longer intervals."""
    _Ray(monkeypatch)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    engine = _Engine(*(_unavailable() for _ in range(5)), Answer(_drawn(7)))
    assert _policy(engine).sample([[1]], SAMPLING) == _drawn(7)
    assert pauses == [1.0, 2.0, 4.0, 5.0]
    assert engine.asked == [engine.asked[0]] * 6


def test_what_a_lost_engine_was_asked_another_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """... the same, as if it had been asked first; and all that comes after."""
    _Ray(monkeypatch)
    lost, other = _Engine(_dead(), _dead()), _Engine(*(Answer(_drawn(token)) for token in (8, 7, 9)))
    policy = _policy(lost, other)
    assert policy.sample([[1], [2]], SAMPLING) == _drawn(7, 8)
    assert other.asked[1] == lost.asked[0]
    assert policy.sample([[3]], SAMPLING) == _drawn(9)
    assert len(lost.asked) == 2


def test_when_all_engines_are_lost_the_first_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    system = _Ray(monkeypatch)
    lost, other = _Engine(_dead(), _dead(), Answer(_drawn(7))), _Engine(Answer(_drawn(8)), _dead())
    assert _policy(lost, other).sample([[1], [2]], SAMPLING) == _drawn(7, 8)
    waited = [timeout for timeout in system.timeouts if timeout not in (50, pytest.approx(50, abs=5))]
    assert waited == [pytest.approx(each, abs=5) for each in (SOON_S, SOON_S, START_S)]


def test_engines_have_one_time_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """... and an answer that has come counts even when it is over."""
    system = _Ray(monkeypatch)
    engines = [_Engine(Answer(_drawn(token))) for token in (1, 2)]
    assert _policy(*engines, timeout_s=0).sample([[1], [2]], SAMPLING) == _drawn(1, 2)
    assert all(0 < timeout < 1 for timeout in system.timeouts)


def test_an_error_of_synchronising_is_raised_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """... and any other as an error of Ray's, which has the engine's traceback."""
    _Ray(monkeypatch)
    cause = SyncError("tensor 'a' is not what it was")
    for given, expected in ((cause, SyncError), (ArithmeticError("no"), ray.exceptions.RayTaskError)):
        failed = ray.exceptions.RayTaskError("generate", "its traceback", given)
        with pytest.raises(expected) as raised:
            _policy(_Engine(failed)).sample([[1]], SAMPLING)
        assert raised.value is (cause if expected is SyncError else failed)
