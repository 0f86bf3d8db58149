"""The policy of a run, as it is sampled: which weights, and through which engines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from subnetray.rollout.messages import Answer, Target
from subnetray.rollout.sampling import Samples, Sampling, concatenate
from subnetray.rollout.sync.probe import Probe, distance
from subnetray.rollout.sync.published import Published
from subnetray.rollout.sync.transfer import SyncError, Update
from subnetray.subnetwork.weights import Weights

# What an engine may take to start, again or for the first time.
START_S = 900.0
# What is waited for one that may come back while there are others: Ray itself needs some 13 s to know that one is dead.
SOON_S = 30.0
_INSTANT_S = 1e-3
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 5.0


class EngineError(RuntimeError):
    """An engine that died, or did not answer in time, as did the one that replaced it and all others of its model."""


@dataclass
class Sync:
    """What synchronising the engines took: ``bytes`` sent beside the bytes of whole copies sent as often.

    ``seconds``: comparing and sending, and taking up and checking at the engine. ``logp_gap``: the largest mean
    distance between the log-probabilities of engine and trainer that a probe found, in nats.
    """

    publishes: int = 0
    bytes: int = 0
    dense_bytes: int = 0
    seconds: float = 0.0
    logp_gap: float = 0.0


class Policy:
    """Publishes the weights of one run and samples from them.

    ``sync`` says what publishing took; ``rollout_s`` is the wall-clock in which engines sampled for this run while it
    waited, ``wait_s`` that in which it waited for something else: their work for other runs, or their start.
    """

    def __init__(self, engines: Sequence[Any], run: str, timeout_s: float, staleness: int = 0) -> None:
        """``staleness``: how many times weights are published, at most, while a draw from earlier ones is awaited."""
        self._engines = list(engines)
        self._run = run
        self.timeout_s = timeout_s
        self._published: Published | None = None
        self._target: Target | None = None
        # The last updates, or where they are: an engine that had to be told of earlier weights goes on from there.
        self._steps: deque[Any] = deque(maxlen=1 + staleness)
        self.sync = Sync()
        self.rollout_s = self.wait_s = 0.0

    @property
    def seconds(self) -> dict[str, float]:
        """Wall-clock by phase."""
        return {"sync": self.sync.seconds, "rollout": self.rollout_s, "wait": self.wait_s}

    def publish(self, weights: Weights, version: str, probe: Probe | None = None) -> None:
        """Make ``weights`` (in the engines' dtype) what is sampled from; the first are the run's init.

        ``version`` names them in errors; ``probe`` is what the trainer computes with them, and engines must agree.
        Without one :meth:`compare` is to be called when something was drawn from them.
        """
        start = time.perf_counter()
        if self._published is None:
            self._published = Published(weights)
        elif (update := self._published.advance(weights)) is not None:
            self._steps.append(self.put(update))
        published = self._published
        self._target = Target(
            f"{self._run}/{version}", published.digest, published.shapes, probe, initial=published.unchanged
        )
        self.sync.publishes += 1
        self.sync.dense_bytes += self._published.dense_bytes
        self.sync.seconds += time.perf_counter() - start

    def sample(self, prompts: Sequence[list[int]], sampling: Sampling) -> Samples:
        """One completion a prompt, from the weights published last.

        Raises :class:`EngineError`, or :class:`SyncError` if an engine does not hold what was published.
        """
        return self._send(prompts, sampling, self._last()).result()

    def start(self, prompts: Sequence[list[int]], sampling: Sampling) -> Draw:
        """Have the engines begin; what is published while they sample changes nothing.

        Until :meth:`Draw.result` is called, a host copy of the weights is kept.
        """
        return self._send(prompts, sampling, self._last().kept())

    def compare(self, trainer: Sequence[float], engine: Sequence[float]) -> None:
        """Hold what engines said of tokens that they drew from the weights published last against the trainer's own.

        Log-probabilities, as many of one as of the other, each at least one. Raises :class:`SyncError`.
        """
        assert self._target is not None, "nothing was published"
        self.sync.logp_gap = max(self.sync.logp_gap, distance(self._target.version, trainer, engine))

    def _last(self) -> Published:
        if self._published is None:
            raise RuntimeError("publish() weights before sampling from them")
        return self._published

    def others(self, engine: Any) -> list[Any]:
        """Return the engines beside this one: whichever draws a completion, its own seed decides it."""
        return [each for each in self._engines if each is not engine]

    def leave(self, engine: Any) -> None:
        """Sample through the others from now on, if there are any."""
        self._engines = self.others(engine) or self._engines

    def _send(self, prompts: Sequence[list[int]], sampling: Sampling, published: Published) -> Draw:
        assert self._target is not None
        share = -(-len(prompts) // len(self._engines))
        calls = [
            _Call(engine, self._target, prompts[first : first + share], sampling, first)
            for engine, first in zip(self._engines, range(0, len(prompts), share), strict=False)
        ]
        return Draw(self, calls, published, list(self._steps))

    def put(self, update: Update) -> Any:
        """Store ``update`` where engines find it, and return what to send to them for it."""
        self.sync.bytes += update.nbytes
        # One put: every engine on a node reads the same memory.
        return ray.put(update)


class Draw:
    """Completions that engines are sampling for a policy."""

    def __init__(self, policy: Policy, calls: Sequence[_Call], published: Published, steps: Sequence[Any]) -> None:
        self._policy, self._calls, self._published, self._steps = policy, calls, published, steps
        self._references = [call.send(steps) for call in calls]

    def result(self) -> Samples:
        """Wait for them; raises as :meth:`Policy.sample` does."""
        drawn: dict[int, Samples] = {}  # by the index of their first prompt
        calls, references = self._calls, self._references
        while calls:
            start = time.perf_counter()
            found = self._answers(calls, references)
            self._account(time.perf_counter() - start, [answer for _, answer, _ in found])
            drawn |= {call.first: samples for call, _, samples in found}
            calls = [call.after(len(samples.completions)) for call, _, samples in found]
            calls = [call for call in calls if call.prompts]
            references = [call.send(self._steps) for call in calls]
        return concatenate([drawn[first] for first in sorted(drawn)])

    def _answers(self, calls: Sequence[_Call], references: Sequence[Any]) -> list[tuple[_Call, Answer, Samples]]:
        """What comes of calls that have been sent, each with the samples that it brought."""
        found: list[tuple[_Call, Answer, Samples]] = []
        for updates in self._ways():
            if updates is not self._steps:
                references = [call.send(updates) for call in calls]
            forgotten = []
            for call, answer in self._gather(calls, references, updates):
                if answer.samples is None:
                    forgotten.append(call)
                else:
                    found.append((call, answer, answer.samples))
            if not forgotten:
                return found
            calls = forgotten
        raise SyncError("an engine that was sent the init and all that has changed since asks for more")

    def _account(self, waited: float, answers: Sequence[Answer]) -> None:
        """Share out the seconds that the run waited for engines."""
        # What engines did before anybody waited took none of the run's time.
        synchronising = min(waited, max(answer.sync_s for answer in answers))
        sync = self._policy.sync
        sync.seconds += synchronising
        sync.logp_gap = max(sync.logp_gap, *(answer.logp_gap for answer in answers))
        sampling = min(waited - synchronising, max(answer.rollout_s for answer in answers))
        self._policy.rollout_s += sampling
        self._policy.wait_s += waited - synchronising - sampling

    def _ways(self) -> Iterator[Sequence[Any]]:
        """Updates that lead to the weights, from what ever more forgetful engines hold."""
        yield self._steps
        update = self._published.since_init()
        since_init = [] if update is None else [self._policy.put(update)]
        if since_init:
            yield since_init
        yield [self._policy.put(self._published.init()), *since_init]

    def _gather(
        self, calls: Sequence[_Call], references: Sequence[Any], updates: Sequence[Any]
    ) -> Iterator[tuple[_Call, Answer]]:
        """Answers of all calls; an engine that does not give one in time, or is dead, is replaced and asked again.

        Where it does not come back soon another engine is asked, which the call then names.
        """
        deadline = time.monotonic() + self._policy.timeout_s
        for call, reference in zip(calls, references, strict=True):
            try:
                answer = _answer(reference, max(deadline - time.monotonic(), _INSTANT_S))
            except TimeoutError:
                # Hung: a new process takes its place, which holds nothing and says so.
                ray.kill(call.engine, no_restart=False)
                yield self._ask_again(call, updates)
            except ray.exceptions.RayActorError:
                yield self._ask_again(call, updates)
            else:
                yield call, answer

    def _ask_again(self, call: _Call, updates: Sequence[Any]) -> tuple[_Call, Answer]:
        """Ask the engine once more; if it does not come back soon, the others in turn; and then wait for it."""
        others = self._policy.others(call.engine)
        asked = [(call.engine, SOON_S), *((other, SOON_S) for other in others)] if others else []
        for engine, patience_s in asked:
            try:
                answer = self._ask(again := replace(call, engine=engine), updates, patience_s)
            except EngineError:
                continue
            if engine is not call.engine:
                self._policy.leave(call.engine)
            return again, answer
        return call, self._ask(call, updates, START_S)

    def _ask(self, call: _Call, updates: Sequence[Any], patience_s: float) -> Answer:
        deadline, pause = time.monotonic() + patience_s, _PAUSE_S
        while True:
            try:
                ray.get(call.engine.ready.remote(), timeout=max(deadline - time.monotonic(), _INSTANT_S))
                return _answer(call.send(updates, retries=1), self._policy.timeout_s)
            except TimeoutError as error:
                raise EngineError(
                    f"no answer from a rollout engine within {self._policy.timeout_s:g} s (rollout.timeout_s), nor from"
                    " the one that replaced it"
                ) from error
            except ray.exceptions.ActorUnavailableError as error:
                # Not reached, which is not dead: its node may be slow, or Ray about to find out.
                if time.monotonic() + pause > deadline:
                    raise EngineError(f"a rollout engine was not reached within {patience_s:g} s: {error}") from error
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            except ray.exceptions.RayActorError as error:
                raise EngineError(f"a rollout engine died, and so did the one that replaced it: {error}") from error


@dataclass(frozen=True, eq=False)
class _Call:
    """One engine's part of the prompts, or what is left of it; ``first`` is the index of the first among all."""

    engine: Any
    target: Target
    prompts: Sequence[list[int]]
    sampling: Sampling
    first: int

    def after(self, count: int) -> _Call:
        """Without the first ``count`` prompts."""
        return replace(self, prompts=self.prompts[count:], first=self.first + count)

    def send(self, updates: Sequence[Any], retries: int = 0) -> Any:
        """Send the call, and return what :func:`_answer` waits for.

        If the engine dies, Ray asks the process that takes its place, ``retries`` times.
        """
        generate = self.engine.generate.options(max_task_retries=retries)
        return generate.remote(self.target, self.prompts, self.sampling, self.first, *updates)


def _answer(reference: Any, timeout_s: float) -> Answer:
    """Raises TimeoutError or RayActorError if none comes, and :class:`SyncError`."""
    try:
        answer: Answer = ray.get(reference, timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, SyncError) else error from None
    return answer
