"""Completions from a vLLM engine in this process, batch by batch.

vLLM's scheduler serves requests that come and go. The prompts of a call come together: of as many as fit into one
batch, every step draws a token for each that has not ended, and nothing is left to decide. Where one batch takes all,
it is the scheduler's but for the order of its rows, and tokens and log-probabilities are its own, bit by bit; what is
left out is work in Python for every request and token, two thirds of a call to a small model, and passes of prompts
that are equal to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from subnetray.rollout.cpu import private
from subnetray.rollout.cpu.passes import Passes
from subnetray.rollout.sampling import Samples


class Batch:
    """What the scheduler of ``llm`` does with prompts that fit into one batch."""

    def __init__(self, llm: Any) -> None:
        scheduler = private.scheduler_of(llm)
        (group,) = scheduler.kv_cache_config.kv_cache_groups
        self._block_size = group.kv_cache_spec.block_size
        self._ends = np.array(private.ends_of(llm))
        self._sequences, self._tokens = scheduler.max_num_running_reqs, scheduler.max_num_scheduled_tokens
        self._longest, self._blocks = scheduler.max_model_len, scheduler.kv_cache_config.num_blocks
        self._passes = Passes(private.runner_of(llm))
        with ExitStack() as undone:
            undone.callback(self._passes.close)
            # Passed once, so that what is other than it was shows now.
            self.logprobs([0, 0])
            undone.pop_all()

    @classmethod
    def of(cls, llm: Any) -> Batch | None:
        """Return None for an engine that does more than this (:func:`private.is_plain`), or is of another vLLM."""
        return private.tried(lambda: cls(llm) if private.is_plain(llm) else None, "subnetray.rollout.cpu.batch")

    def fitting(self, prompts: Sequence[list[int]], max_new_tokens: int) -> int:
        """How many of the prompts, the first ones, are one batch; 0 if the first of them fits into none.

        The scheduler would pass them in one step, and has room for them until all have ended.
        """
        lengths = np.array([len(prompt) for prompt in prompts], np.int64)
        blocks = -(-np.minimum(lengths + max_new_tokens, self._longest) // self._block_size)
        fits = lengths < self._longest
        for need, most in (
            (np.ones_like(lengths), self._sequences),
            (lengths, self._tokens),
            (blocks, self._blocks - 1),  # the first block of a cache is nobody's
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
        limits = np.minimum(max_new_tokens, self._longest - lengths)
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
