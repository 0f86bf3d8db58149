"""Completions from a vLLM engine in this process, batch by batch.

vLLM's scheduler serves requests that come and go. The prompts of a call come together: of as many as fit into one
batch, every step draws a token for each that has not ended, and nothing is left to decide. Where one batch takes all,
it is the scheduler's but for the order of its rows, and tokens and log-probabilities are its own, bit by bit; what is
left out is work in Python for every request and token, two thirds of a call to a small model, and passes of prompts
that are equal to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from subnetray.rollout.cpu.passes import Passes
from subnetray.rollout.sampling import Samples


class Batch:
    """What the scheduler of ``llm`` does with prompts that fit into one batch."""

    def __init__(self, llm: Any) -> None:
        from vllm import SamplingParams

        engine = llm.llm_engine
        core = engine.engine_core.engine_core
        self._scheduler = core.scheduler
        self._passes = Passes(core.model_executor.driver_worker.worker.model_runner)
        (group,) = core.scheduler.kv_cache_config.kv_cache_groups
        self._block_size = group.kv_cache_spec.block_size
        params = SamplingParams()
        params.update_from_generation_config(
            engine.input_processor.generation_config_fields, engine.renderer.get_eos_token_id()
        )
        self._ends = np.array([params.eos_token_id, *params.stop_token_ids])

    @classmethod
    def of(cls, llm: Any) -> Batch | None:
        """None for an engine whose scheduler or worker does more.

        That is one in another process, one that runs ahead of the model, one of a model whose cache is not of plain
        attention alone, or of one that is told more than tokens and where they are.
        """
        from vllm.v1.core.sched.scheduler import Scheduler
        from vllm.v1.engine.core_client import InprocClient
        from vllm.v1.kv_cache_interface import FullAttentionSpec

        engine = llm.llm_engine
        if not isinstance(engine.engine_core, InprocClient) or engine.vllm_config.use_v2_model_runner:
            return None
        core, model = engine.engine_core.engine_core, engine.model_config
        caches = [type(group.kv_cache_spec) for group in core.scheduler.kv_cache_config.kv_cache_groups]
        plain = type(core.scheduler) is Scheduler and core.batch_queue is None and caches == [FullAttentionSpec]
        more = model.is_multimodal_model or model.uses_mrope or model.uses_xdrope_dim
        return cls(llm) if plain and not more else None

    def fitting(self, prompts: Sequence[list[int]], max_new_tokens: int) -> int:
        """How many of the prompts, the first ones, are one batch; 0 if the first of them fits into none.

        The scheduler would pass them in one step, and has room for them until all have ended.
        """
        scheduler = self._scheduler
        lengths = np.array([len(prompt) for prompt in prompts], np.int64)
        blocks = -(-np.minimum(lengths + max_new_tokens, scheduler.max_model_len) // self._block_size)
        fits = lengths < scheduler.max_model_len
        for need, most in (
            (np.ones_like(lengths), scheduler.max_num_running_reqs),
            (lengths, scheduler.max_num_scheduled_tokens),
            (blocks, scheduler.kv_cache_config.num_blocks - 1),  # the first block of a cache is nobody's
        ):
            fits &= need.cumsum() <= most
        return len(prompts) if fits.all() else int(fits.argmin())

    @torch.inference_mode()
    def sample(
        self, prompts: Sequence[list[int]], temperature: float, max_new_tokens: int, seeds: Sequence[int]
    ) -> Samples:
        """One completion a prompt, drawn by a generator that begins with the prompt's seed."""
        if not prompts:
            return Samples([], [])
        lengths = np.array([len(prompt) for prompt in prompts])
        limits = np.minimum(max_new_tokens, self._scheduler.max_model_len - lengths)
        table = self._passes.table(lengths + limits)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        tokens = np.empty((len(prompts), max_new_tokens), np.int64)
        logprobs = np.empty(tokens.shape, np.float32)
        counts = np.zeros_like(lengths)
        logits = self._passes.prompts(prompts, table)
        rows = np.arange(len(prompts))
        while True:
            drawn, found = _draw(logits, temperature, [generators[row] for row in rows.tolist()])
            tokens[rows, counts[rows]], logprobs[rows, counts[rows]] = drawn, found
            counts[rows] += 1
            left = (counts[rows] < limits[rows]) & ~np.isin(drawn, self._ends)
            rows = rows[left]
            if not rows.size:
                break
            logits = self._passes.next(drawn[left], lengths[rows] + counts[rows] - 1, table[rows])
        return Samples(
            [row[:count] for row, count in zip(tokens.tolist(), counts.tolist(), strict=True)],
            [row[:count] for row, count in zip(logprobs.tolist(), counts.tolist(), strict=True)],
        )

    @torch.inference_mode()
    def logprobs(self, ids: list[int]) -> list[float]:
        """Log-probability of every token of ``ids``, at least two, but the first."""
        logits = self._passes.text(np.array(ids))[:-1]
        found: list[float] = _of(logits.log_softmax(-1), torch.tensor(ids[1:])).tolist()
        return found


def _draw(logits: Tensor, temperature: float, generators: Sequence[torch.Generator]) -> tuple[Any, Any]:
    """A token of every row, by its own generator, and its log-probability, as vLLM draws them; 0 is greedy.

    What ``logits`` holds afterwards is nothing to rely on.
    """
    if temperature:
        logits.div_(temperature)
    logprobs = logits.log_softmax(-1)
    if temperature:
        noise = torch.empty_like(logits)
        for row, generator in zip(noise.unbind(), generators, strict=True):
            row.exponential_(generator=generator)
        drawn = logits.softmax(-1).div_(noise).argmax(-1)
    else:
        drawn = logits.argmax(-1)
    return drawn.numpy(), _of(logprobs, drawn).numpy()


def _of(logprobs: Tensor, tokens: Tensor) -> Tensor:
    """Each row's log-probability of its token."""
    return logprobs.gather(1, tokens[:, None])[:, 0]
