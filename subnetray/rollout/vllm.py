"""Engines of vLLM."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from subnetray.config import Rollout
from subnetray.process.environment import SESSION
from subnetray.process.libraries import loading
from subnetray.rollout.cpu import private
from subnetray.rollout.cpu.batch import Batch
from subnetray.rollout.cpu.packed import Packed
from subnetray.rollout.engine import Engine, await_model, is_blank
from subnetray.rollout.sampling import Samples, Sampling

# Read by vLLM when it is imported: one process, no threads that spin beside those of the trainers.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
_CPU_ENVIRONMENT = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCHDYNAMO_DISABLE": "1"}


class VLLMEngine(Engine):
    """``rollout=vllm``."""

    def __init__(self, model: Path, config: Rollout) -> None:
        with loading(without=["scipy"]):  # what it is for in vLLM, audio and video, is not asked for
            from vllm import LLM

        private.keep_quiet()
        if (directory := os.environ.get(SESSION)) is not None:  # others reach nodes of a cluster anyway
            private.meet_in(Path(directory), config.tensor_parallel)
        super().__init__()
        await_model(model)
        if config.gpus_per_engine > 0:
            resources: dict[str, Any] = {"gpu_memory_utilization": config.gpu_memory_utilization}
            if config.tensor_parallel > 1:
                # One process a GPU, beneath this one: vLLM's own choice within a Ray actor may be actors of its own.
                resources |= {"tensor_parallel_size": config.tensor_parallel, "distributed_executor_backend": "mp"}
        else:
            # vLLM's own sizing on a CPU counts the whole machine's memory as free or fails.
            resources = {"kv_cache_memory_bytes": config.kv_cache_mib << 20, "enforce_eager": True}
            # A prompt that is cut in two takes back what its generator drew in between, which those of CPUs cannot.
            resources["enable_chunked_prefill"] = False
        if is_blank(model):
            resources["load_format"] = "dummy"
        # What its parts import; vLLM's kernels for GPUs of AMD read tables with pandas.
        with loading(without=["scipy", *([] if config.gpus_per_engine > 0 else ["pandas"])]):
            if config.gpus_per_engine == 0:
                private.look_here(json.loads((model / "config.json").read_bytes()).get("architectures") or [])
            self._llm = LLM(
                model=str(model),
                dtype=config.dtype,
                max_model_len=config.max_model_len,
                # A cached prefix belongs to the weights that computed it, and weights change with every call.
                enable_prefix_caching=False,
                # The importance-sampling correction needs the probabilities that tokens were really drawn with.
                logprobs_mode="processed_logprobs",
                disable_log_stats=True,
                **resources,
            )
        self._dtype = getattr(torch, config.dtype)
        self._packed: Packed | None = None
        self._batch: Batch | None = None
        if config.gpus_per_engine == 0:
            (self._packed,) = self._llm.apply_model(Packed.of)
            self._batch = Batch.of(self._llm)

    @classmethod
    def environment(cls, gpu: bool) -> dict[str, str]:
        return super().environment(gpu) | _ENVIRONMENT | ({} if gpu else _CPU_ENVIRONMENT)

    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        if self._packed is not None:
            self._packed.load(weights)
            return
        # A list, for it may travel to other processes, of which each takes its part.
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": list(weights.items())})

    def _logprobs(self, ids: list[int]) -> list[float]:
        """Log-probability of every token of ``ids`` but the first."""
        if self._batch is not None:
            return self._batch.logprobs(ids)
        from vllm import SamplingParams

        # A call of its own: in a call with others it would depend on them which sums are taken in which order.
        params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        (output,) = self._llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
        return [entry[token].logprob for token, entry in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]

    def _at_a_time(self, prompts: Sequence[list[int]], sampling: Sampling) -> int:
        # What fits into no batch is the scheduler's, and so are those behind it, which it serves together.
        return self._fitting(prompts, sampling) or len(prompts)

    def _fitting(self, prompts: Sequence[list[int]], sampling: Sampling) -> int:
        return 0 if self._batch is None else self._batch.fitting(prompts, sampling.max_new_tokens)

    def _sample(self, prompts: Sequence[list[int]], sampling: Sampling, first: int) -> Samples:
        from vllm import SamplingParams

        common = SamplingParams(
            temperature=sampling.temperature,
            max_tokens=sampling.max_new_tokens,
            seed=sampling.seed,
            logprobs=0,
            detokenize=False,
            skip_clone=True,  # made for this call: a deep copy of each takes a tenth of a rollout
        )
        seeds = range(sampling.seed + first, sampling.seed + first + len(prompts))
        if self._batch is not None and self._fitting(prompts, sampling) == len(prompts):
            return self._batch.sample(prompts, common.temperature, common.max_tokens, seeds)
        return self._scheduled(prompts, common, seeds)

    def _scheduled(self, prompts: Sequence[list[int]], common: Any, seeds: Sequence[int]) -> Samples:
        params = [copy.copy(common) for _ in prompts]
        for each, seed in zip(params, seeds, strict=True):
            each.seed = seed
        outputs = self._llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
        drawn = [output.outputs[0] for output in outputs]
        return Samples(
            [list(item.token_ids) for item in drawn],
            [
                [entry[token].logprob for token, entry in zip(item.token_ids, item.logprobs, strict=True)]
                for item in drawn
            ],
        )
