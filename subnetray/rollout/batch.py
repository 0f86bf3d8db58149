"""Completions from a vLLM engine in this process, batch by batch.

vLLM's scheduler serves requests that come and go. The prompts of a call come together: of as many as fit into one
batch, every step draws a token for each that has not ended, and nothing is left to decide. Here vLLM's worker is told
so directly, in the words of its scheduler. Where one batch takes all, it is the scheduler's row by row, and so are
tokens and log-probabilities, bit by bit; what is left out is work in Python for every request and token, half of a call
to a small model.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from itertools import count
from typing import Any

from subnetray.rollout.sampling import Samples


class Batch:
    """What the scheduler of ``llm`` does with prompts that fit into one batch."""

    def __init__(self, llm: Any) -> None:
        from vllm import SamplingParams

        engine = llm.llm_engine
        core = engine.engine_core.engine_core
        self._scheduler, self._executor = core.scheduler, core.model_executor
        (group,) = core.scheduler.kv_cache_config.kv_cache_groups
        self._block_size = group.kv_cache_spec.block_size
        params = SamplingParams()
        params.update_from_generation_config(
            engine.input_processor.generation_config_fields, engine.renderer.get_eos_token_id()
        )
        self._ends = {params.eos_token_id, *params.stop_token_ids}
        self._numbers = count()

    @classmethod
    def of(cls, llm: Any) -> Batch | None:
        """None for an engine whose scheduler decides more.

        That is one in another process, one that runs ahead of the model, and one of a model whose cache is not of plain
        attention alone.
        """
        from vllm.v1.core.sched.scheduler import Scheduler
        from vllm.v1.engine.core_client import InprocClient
        from vllm.v1.kv_cache_interface import FullAttentionSpec

        engine = llm.llm_engine
        if not isinstance(engine.engine_core, InprocClient) or engine.vllm_config.use_v2_model_runner:
            return None
        core = engine.engine_core.engine_core
        caches = [type(group.kv_cache_spec) for group in core.scheduler.kv_cache_config.kv_cache_groups]
        plain = type(core.scheduler) is Scheduler and core.batch_queue is None and caches == [FullAttentionSpec]
        return cls(llm) if plain else None

    def fitting(self, prompts: Sequence[list[int]], max_new_tokens: int) -> int:
        """How many of the prompts, the first ones, are one batch; 0 if the first of them fits into none.

        The scheduler would pass them in one step, and has room for them until all have ended.
        """
        scheduler, used = self._scheduler, (0, 0, 0)
        # The first block of a cache is nobody's.
        most = (
            scheduler.max_num_running_reqs,
            scheduler.max_num_scheduled_tokens,
            scheduler.kv_cache_config.num_blocks - 1,
        )
        for index, prompt in enumerate(prompts):
            length = len(prompt)
            used = tuple(map(operator.add, used, (1, length, self._blocks(length, max_new_tokens))))
            if length >= scheduler.max_model_len or any(map(operator.gt, used, most)):
                return index
        return len(prompts)

    def sample(self, prompts: Sequence[list[int]], params: Sequence[Any]) -> Samples:
        """One completion a prompt, drawn by vLLM's ``params``, which ask for log-probabilities of drawn tokens."""
        # Names are not used again: what a call that failed has left behind is in nobody's way.
        names = [str(next(self._numbers)) for _ in prompts]
        lengths = dict(zip(names, map(len, prompts), strict=True))
        room = self._scheduler.max_model_len
        limits = {name: min(each.max_tokens, room - lengths[name]) for name, each in zip(names, params, strict=True)}
        tokens: dict[str, list[int]] = {name: [] for name in names}
        logprobs: dict[str, list[float]] = {name: [] for name in names}
        step, left, drawn = self._first(lengths, prompts, params), names, 0
        while left:
            self._executor.execute_model(step)
            output = self._executor.sample_tokens(None)
            drawn += 1
            rows = zip(output.req_ids, output.sampled_token_ids, output.logprobs.logprobs[:, 0].tolist(), strict=True)
            for name, (token,), logprob in rows:
                tokens[name].append(token)
                logprobs[name].append(logprob)
            ended = {name for name in left if tokens[name][-1] in self._ends or drawn == limits[name]}
            left = [name for name in left if name not in ended]
            step = _next({name: lengths[name] + drawn - 1 for name in left}, drawn, ended)
        self._executor.execute_model(step)  # passes nothing: the worker forgets those that ended last
        return Samples(list(tokens.values()), list(logprobs.values()))

    def _first(self, lengths: dict[str, int], prompts: Sequence[list[int]], params: Sequence[Any]) -> Any:
        """Pass all prompts, each with blocks of the cache for all that it may become."""
        from vllm.v1.core.sched.output import NewRequestData, SchedulerOutput

        blocks = count(1)
        requests = [
            NewRequestData(
                req_id=name,
                prompt_token_ids=prompt,
                mm_features=[],
                sampling_params=each,
                pooling_params=None,
                block_ids=([next(blocks) for _ in range(self._blocks(len(prompt), each.max_tokens))],),
                num_computed_tokens=0,
                lora_request=None,
            )
            for name, prompt, each in zip(lengths, prompts, params, strict=True)
        ]
        return dataclasses.replace(
            SchedulerOutput.make_empty(),
            scheduled_new_reqs=requests,
            num_scheduled_tokens=lengths,
            total_num_scheduled_tokens=sum(lengths.values()),
        )

    def _blocks(self, length: int, max_new_tokens: int) -> int:
        return -(-min(length + max_new_tokens, self._scheduler.max_model_len) // self._block_size)


def _next(passed: dict[str, int], drawn: int, ended: set[str]) -> Any:
    """Pass the last of ``drawn`` tokens of each name, after so many that were ``passed`` before; forget who ended."""
    from vllm.v1.core.sched.output import CachedRequestData, SchedulerOutput

    return dataclasses.replace(
        SchedulerOutput.make_empty(),
        scheduled_cached_reqs=dataclasses.replace(
            CachedRequestData.make_empty(),
            req_ids=list(passed),
            new_block_ids=[None] * len(passed),
            num_computed_tokens=list(passed.values()),
            num_output_tokens=[drawn] * len(passed),
        ),
        num_scheduled_tokens=dict.fromkeys(passed, 1),
        total_num_scheduled_tokens=len(passed),
        finished_req_ids=ended,
    )
