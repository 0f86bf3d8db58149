"""Real engines: what arrives is what was published, whoever else uses the engine and whatever happens to it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import random
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch

from subnetray import rollout
from subnetray.config import Rollout
from subnetray.rollout import Draw, Policy, Samples, Sampling, SyncError
from subnetray.rollout.cpu.packed import Packed
from subnetray.rollout.engine import Engine
from subnetray.rollout.policy import _Call
from subnetray.rollout.pool import ENGINES
from subnetray.rollout.sampling import concatenate
from subnetray.rollout.vllm import VLLMEngine
from tests.e2e.engines import PROBE, PROMPTS, ROLLOUT, Trained, Weights, apart, dense, samples_of
from tests.rounding import assert_drawn_alike

pytestmark = pytest.mark.e2e


def test_no_other_process_imports_vllm_to_look_at_a_model(engine: Any, vllm_cache: Path) -> None:
    """... which would keep what it found."""
    assert not list(vllm_cache.rglob("*.json"))


def test_ray_starts_nothing_that_nobody_asks(engine: Any) -> None:
    words: list[str] = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has ended
            words += process.cmdline()
    files = {Path(word).name for word in words}
    assert "raylet" in files
    assert not files & {"monitor.py", "dashboard.py", "log_monitor.py"}


def test_fifty_sparse_steps_of_two_runs_in_turn_sample_what_dense_copies_do(tiny: Path, engine: Any) -> None:
    """... bit for bit, and the engine is killed in the middle; the second run's are drawn while it moves on."""
    runs = [
        (Trained(tiny, seed), Policy([engine], f"run-{seed}", timeout_s=300, staleness=seed - 1)) for seed in (1, 2)
    ]
    for trained, policy in runs:
        policy.publish(trained.weights(), "init", trained.probe())
        assert samples_of(policy, seed=0) == samples_of(dense(engine, trained.weights()), seed=0)
    draws: list[list[tuple[int, Weights, Draw]]] = [[], []]
    for step in range(1, 51):
        for ahead, (trained, policy) in enumerate(runs):
            policy.publish(trained.step(), f"step-{step}", trained.probe())
            if step == 25 and ahead == 0:
                os.kill(ray.get(engine.ready.remote()), signal.SIGKILL)
            weights = {name: tensor.clone() for name, tensor in trained.weights().items()}
            draws[ahead].append((step, weights, policy.start(PROMPTS, Sampling(1.0, 5, seed=step))))
            if len(draws[ahead]) > ahead:
                drawn, weights, draw = draws[ahead].pop(0)
                sparse = draw.result()
                if drawn % 10 in (0, 4, 5, 6):
                    assert sparse == samples_of(dense(engine, weights), seed=drawn), drawn
    for _, policy in runs:
        assert policy.sync.publishes == 51
        assert policy.sync.bytes < 0.25 * policy.sync.dense_bytes
        assert 0 < policy.sync.logp_gap < 0.05


def test_a_long_draw_lets_others_in(tiny: Path, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """... after the batch that is being sampled, and is as it would have been without them."""
    runs = [(Trained(tiny, seed), Policy([engine], f"run-{seed}", timeout_s=300)) for seed in (8, 9)]
    for trained, policy in runs:
        policy.publish(trained.step(), "step-1", trained.probe())
        samples_of(policy, seed=1)  # from now on the engine holds what its updates start from
    (_, one), (_, two) = runs
    generator = random.Random(0)
    prompts = [generator.choices(range(2, 16), k=6) for _ in range(600)]
    sampling = Sampling(temperature=1.0, max_new_tokens=4, seed=5)
    draw = one.start(prompts, sampling)
    between = samples_of(two, seed=1)
    sizes: list[int] = []
    after = _Call.after

    def spied(call: _Call, count: int) -> _Call:
        sizes.append(count)
        return after(call, count)

    monkeypatch.setattr(_Call, "after", spied)
    drawn = draw.result()
    assert sizes == [256, 256, 88]  # what is left after a batch is not asked for before result()
    assert one.sample(prompts, sampling) == drawn
    assert samples_of(two, seed=1) == between
    alone = one.sample(prompts[300:340], dataclasses.replace(sampling, seed=305))
    beside = Samples(drawn.completions[300:340], drawn.logprobs[300:340])
    # Of another batch, whose sums may be taken in another order.
    assert_drawn_alike(alone, beside, apart(tiny, prompts[300:340], beside))


@pytest.mark.parametrize("known", [True, False], ids=["called before", "not called before"])
def test_an_engine_that_hangs_is_replaced_and_runs_go_on_with_the_same_samples(
    known: bool, tiny: Path, engine: Any
) -> None:
    trained = Trained(tiny, seed=3)
    policy, other = (Policy([engine], name, timeout_s=10) for name in ("hung", "other"))
    for each in (policy, other):
        each.publish(trained.weights(), "init", trained.probe())
    weights = trained.step()
    for each in (policy, other):
        each.publish(weights, "step-1", trained.probe())
    expected = samples_of(other, seed=1)
    if known:
        assert samples_of(policy, seed=1) == expected
    hung = psutil.Process(ray.get(engine.ready.remote()))
    hung.suspend()
    assert samples_of(policy, seed=1) == expected
    assert ray.get(engine.ready.remote()) != hung.pid
    assert not hung.is_running()
    # Another run finds the new one.
    assert samples_of(other, seed=1) == expected


class _Failing(Engine):
    """Takes up weights, and can do nothing with them."""

    _dtype = torch.bfloat16

    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        pass

    def _logprobs(self, ids: list[int]) -> list[float]:
        return []

    def _at_a_time(self, prompts: Sequence[list[int]], sampling: Sampling) -> int:
        return len(prompts)

    def _sample(self, prompts: Sequence[list[int]], sampling: Sampling, first: int) -> Samples:
        raise ArithmeticError("no completion fits")


def test_what_an_engine_fails_of_is_said(engine: Any) -> None:
    """... and does not pass for its death."""
    policy = Policy([ray.remote(_Failing).options(num_cpus=0).remote()], "failing", timeout_s=60)
    policy.publish({"weight": torch.zeros(4, dtype=torch.bfloat16)}, "init")
    for _ in range(2):
        with pytest.raises(ArithmeticError, match="no completion fits"):
            samples_of(policy, seed=1)


class _Busy(_Failing):
    """Answers with the number of calls that it is in the middle of."""

    _calls = 0

    def __init__(self, model: Path, config: Rollout) -> None:
        super().__init__()
        self._second = threading.Event()

    def _sample(self, prompts: Sequence[list[int]], sampling: Sampling, first: int) -> Samples:
        self._calls += 1
        if self._calls > 1:
            self._second.set()
        self._second.wait(0.2)  # for a call that comes in meanwhile, of which there must be none
        calls, self._calls = self._calls, self._calls - 1
        return Samples([[calls] for _ in prompts], [[0.0] for _ in prompts])


def test_an_engine_works_for_one_call_at_a_time(tiny: Path, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "hf", _Busy)
    busy = rollout.start([(tiny, Rollout(name="hf", cpus_per_engine=0))]).handles
    policies = [Policy(busy, f"run-{number}", timeout_s=60) for number in range(3)]
    for number, policy in enumerate(policies):
        policy.publish({"weight": torch.full((4,), number, dtype=torch.bfloat16)}, "init")
        policy.publish({"weight": torch.full((4,), number + 0.5, dtype=torch.bfloat16)}, "step-1")
    draws = [policy.start(PROMPTS, Sampling(1.0, 1, seed=0)) for policy in policies]
    assert [draw.result().completions for draw in draws] == [[[1]] * len(PROMPTS)] * len(policies)


class _Careless(VLLMEngine):
    """Loads only a part of what it is given, or in another way."""

    _fault = ""

    def sabotage(self, fault: str) -> None:
        self._fault = fault

    def _load(self, weights: Any) -> None:
        packed = self._packed
        if self._fault == "vLLM's own reload":
            self._packed = None
        model = self._llm.llm_engine.model_executor.driver_worker.worker.get_model()
        stale = model.lm_head.cpu_linear
        if (held := model.lm_head.weight.clone()).numel():  # vLLM packs none for this processor
            stale = lambda x, _, bias: torch.nn.functional.linear(x, held, bias)  # noqa: E731
        if self._fault == "half":
            weights = dict(list(weights.items())[: len(weights) // 2])
        if self._fault != "nothing":
            super()._load(weights)
        if self._fault == "head":
            model.lm_head.cpu_linear = stale
        self._packed = packed
        if self._fault == "vLLM's own reload":  # which makes parameters anew
            (self._packed,) = self._llm.apply_model(Packed.of)

    def both_ways(self, prompts: list[list[int]], sampling: Sampling) -> tuple[list[int], Samples, Samples]:
        """The sizes of a call's batches, what the engine draws, and what it does by vLLM's own scheduler."""
        batch = self._batch
        assert batch is not None
        sizes: list[int] = []
        drawn = []
        while (done := sum(sizes)) < len(prompts):
            sizes.append(self._at_a_time(prompts[done:], sampling))
            drawn.append(self._sample(prompts[done : done + sizes[-1]], sampling, first=3 + done))
        found = self._logprobs(PROBE)
        self._batch = None
        scheduled, expected = self._sample(prompts, sampling, first=3), self._logprobs(PROBE)
        self._batch = batch
        assert found == expected
        return sizes, concatenate(drawn), scheduled


@pytest.fixture(scope="module")
def careless(tiny: Path, engine: Any) -> Any:
    """An engine beside the other one."""
    environment = {"env_vars": VLLMEngine.environment(gpu=False)}
    return ray.remote(_Careless).options(num_cpus=0, runtime_env=environment).remote(tiny, ROLLOUT)


def test_weights_are_packed_as_vllm_s_own_reload_packs_them(tiny: Path, careless: Any) -> None:
    """... whichever came before."""
    trained = Trained(tiny, seed=7, lr=1e-3)
    versions = [{name: tensor.clone() for name, tensor in trained.step().items()} for _ in range(3)]
    found = []
    for way in ("packed", "vLLM's own reload", "packed"):
        ray.get(careless.sabotage.remote(way))
        found.append([samples_of(dense(careless, weights), seed=2) for weights in versions])
    assert found[0] == found[1] == found[2]
    assert all(one != other for one, other in itertools.combinations(found[0], 2))


@pytest.mark.parametrize(
    ("lengths", "temperature", "max_new_tokens", "sizes"),
    [
        ([4, 6, 5, 6] * 32, 1.0, 5, [128]),
        ([1, 2] * 100, 1.0, 5, [200]),  # most are equal to others
        ([6, 4] * 128, 0.0, 5, [256]),
        ([1, 40, 63, 30, 62] * 4, 1.5, 30, [20]),  # some end with the context
        ([3, 5] * 300, 1.0, 3, [256, 256, 88]),  # as many sequences as vLLM has at a time
        ([63] * 66, 1.0, 1, [65, 1]),  # as many tokens as it passes at a time
    ],
)
def test_batches_draw_what_vllm_s_own_scheduler_does(
    tiny: Path, careless: Any, lengths: list[int], temperature: float, max_new_tokens: int, sizes: list[int]
) -> None:
    """... where there is one, bit for bit, in whichever order prompts end."""
    generator = random.Random(0)
    prompts = [generator.choices(range(2, 16), k=length) for length in lengths]
    for seed in (1, 2):
        sampling = Sampling(temperature, max_new_tokens, seed)
        found, drawn, scheduled = ray.get(careless.both_ways.remote(prompts, sampling))
        assert found == sizes
        if len(sizes) == 1:
            assert drawn == scheduled
        else:  # sums of other batches may be taken in another order
            assert_drawn_alike(drawn, scheduled, apart(tiny, prompts, drawn))
    assert all(
        len(ids) <= min(max_new_tokens, ROLLOUT.max_model_len - length)
        for ids, length in zip(drawn.completions, lengths, strict=True)
    )


@pytest.mark.parametrize(("fault", "seed"), [("head", 4), ("half", 5), ("nothing", 6)])
def test_weights_that_were_loaded_in_part_are_noticed(tiny: Path, careless: Any, fault: str, seed: int) -> None:
    """A stale tied output head is a known failure of some versions of vLLM."""
    ray.get(careless.sabotage.remote(fault))
    trained = Trained(tiny, seed, lr=5e-2)
    policy = Policy([careless], "careless", timeout_s=300)
    policy.publish(trained.step(), "step-1", trained.probe())
    with pytest.raises(SyncError, match=r"engine that loaded careless/step-1 gives a text other log-probabilities"):
        samples_of(policy, seed=1)
