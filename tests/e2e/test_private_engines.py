"""Engines of a vLLM that calls its insides otherwise: they draw the same samples by vLLM's own ways."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import ray

from subnetray.config import Rollout
from subnetray.private import Gone, reach, replace
from subnetray.rollout.cpu import private
from subnetray.rollout.cpu.batch import Batch
from subnetray.rollout.cpu.packed import Packed
from subnetray.rollout.vllm import VLLMEngine
from tests.e2e.engines import ROLLOUT, Trained, dense, samples_of

pytestmark = pytest.mark.e2e


class _Other(VLLMEngine):
    """An engine of a vLLM of which one thing is called otherwise."""

    def hide(self, module: str, name: str) -> tuple[bool, bool]:
        """Look for the faster ways while ``name`` is hidden: whether they were found, of batches and of loading."""
        if self._batch is not None:
            self._batch._passes.close()
        owner, _, last = name.rpartition(".")
        with pytest.MonkeyPatch.context() as patch:
            if module == "runner":
                patch.delattr(private.runner_of(self._llm), name)
            elif name:
                patch.delattr(reach(module, owner) if owner else import_module(module), last)
            self._batch = Batch.of(self._llm)
            (self._packed,) = self._llm.apply_model(Packed.of)
        return self._batch is not None, self._packed is not None

    def rename_argument(self) -> bool:
        """Look for batches while what attention is told takes no ``slot_mapping``."""
        assert self._batch is not None
        self._batch._passes.close()
        real = private.attention_metadata()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(private, "attention_metadata", lambda: lambda *, slots, **others: real(**others))
            self._batch = Batch.of(self._llm)
        return self._batch is not None


@pytest.fixture(scope="module")
def other(tiny: Path, engine: Any) -> Any:
    environment = {"env_vars": VLLMEngine.environment(gpu=False)}
    return ray.remote(_Other).options(num_cpus=0, runtime_env=environment).remote(tiny, ROLLOUT)


@pytest.mark.parametrize(
    ("module", "name", "batches"),
    [
        ("vllm", "", True),
        ("vllm.v1.core.sched.scheduler", "Scheduler", False),
        ("vllm.v1.kv_cache_interface", "FullAttentionSpec", False),
        ("vllm.v1.engine.core_client", "InprocClient", False),
        ("vllm.forward_context", "set_forward_context", False),
        ("vllm.v1.attention.backend", "CommonAttentionMetadata", False),
        ("vllm", "SamplingParams.update_from_generation_config", False),
        ("runner", "attn_groups", False),
        ("runner", "compilation_config", False),
    ],
)
def test_a_name_that_is_gone_leaves_vllm_s_own_way(
    tiny: Path, engine: Any, other: Any, module: str, name: str, batches: bool
) -> None:
    """... whose samples are the same."""
    assert ray.get(other.hide.remote(module, name)) == (batches, True)
    weights = Trained(tiny, seed=len(name), lr=1e-3).step()
    assert samples_of(dense(other, weights), seed=2) == samples_of(dense(engine, weights), seed=2)


def test_so_does_an_argument_of_another_name(tiny: Path, engine: Any, other: Any) -> None:
    """... which shows when the way is tried, after the model was changed for it."""
    assert ray.get(other.hide.remote("vllm", "")) == (True, True)
    assert not ray.get(other.rename_argument.remote())
    weights = Trained(tiny, seed=30, lr=1e-3).step()
    assert samples_of(dense(other, weights), seed=2) == samples_of(dense(engine, weights), seed=2)


class _Bare(VLLMEngine):
    """An engine of a vLLM that has none of the names but that by which its processes meet, which has no other way."""

    def __init__(self, model: Path, config: Rollout) -> None:
        def gone(module: str, name: str, *value: object) -> Any:
            if name == "get_distributed_init_method":
                return replace(module, name, *value)
            raise Gone(f"no {module}.{name}")

        with pytest.MonkeyPatch.context() as patch:
            for door in ("reach", "replace"):
                patch.setattr(private, door, gone)
            super().__init__(model, config)

    def batches(self) -> bool:
        """Return whether it draws in batches of its own."""
        return self._batch is not None


def test_an_engine_without_private_names_draws_the_same(tiny: Path, engine: Any) -> None:
    environment = {"env_vars": VLLMEngine.environment(gpu=False)}
    bare = ray.remote(_Bare).options(num_cpus=0, runtime_env=environment).remote(tiny, ROLLOUT)
    weights = Trained(tiny, seed=31, lr=1e-3).step()
    assert samples_of(dense(bare, weights), seed=2) == samples_of(dense(engine, weights), seed=2)
    assert not ray.get(bare.batches.remote())
