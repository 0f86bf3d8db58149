"""Processor time of a rollout call to vLLM on a CPU: by its own scheduler, and as one batch.

    python benchmarks/rollout.py [rounds, default 50]

The embedded model, in this process, without Ray: the call of a GRPO step (16 prompts, 8 completions of each), one that
just fits into a batch (256 prompts, greedy), and one of an evaluation, of two batches. The two ways in turn, and where
one batch takes all, what they draw must be the same; medians.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time

from subnetray import models
from subnetray.config import EmbeddedModel, Rollout
from subnetray.models.tokenizer import make_tokenizer
from subnetray.rollout import Samples, Sampling
from subnetray.rollout.sampling import concatenate
from subnetray.rollout.vllm import VLLMEngine

# How many prompts, completions of each, and the temperature.
CALLS = {"GRPO step": (16, 8, 1.0), "one batch": (256, 1, 0.0), "evaluation": (512, 1, 0.0)}


class Either(VLLMEngine):
    """Samples in the way that it is told."""

    def timed(self, prompts: list[list[int]], sampling: Sampling, one_batch: bool) -> tuple[Samples, float]:
        """Samples, and the seconds that they took."""
        batch = self._batch
        assert batch is not None
        if not one_batch:
            self._batch = None
        start = time.process_time()
        parts: list[Samples] = []
        done = 0
        while done < len(prompts):
            count = self._at_a_time(prompts[done:], sampling)
            parts.append(self._sample(prompts[done : done + count], sampling, done))
            done += count
        self._batch = batch
        return concatenate(parts), time.process_time() - start


def main() -> None:
    """Print a line a kind of call."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    os.environ.update(VLLMEngine.environment(gpu=False))
    rollout = Rollout()
    tokenizer = make_tokenizer(rollout.max_model_len)
    engine = Either(models.prepare(EmbeddedModel(), models.default_cache(), print), rollout)
    chance = random.Random(0)
    for call, (count, each, temperature) in CALLS.items():
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for seed in range(rounds):
            texts = [f"{chance.randrange(100)}{chance.choice('+-')}{chance.randrange(100)}=" for _ in range(count)]
            prompts = [ids for ids in tokenizer(texts)["input_ids"] for _ in range(each)]
            drawn = []
            for one_batch, values in seconds.items():
                samples, took = engine.timed(prompts, Sampling(temperature, rollout.max_new_tokens, seed), one_batch)
                values.append(took)
                drawn.append(samples)
            if drawn[0] != drawn[1]:
                raise SystemExit(f"{call}: the two ways draw different tokens or log-probabilities")
        scheduled, batched = (1e3 * statistics.median(values) for values in seconds.values())
        print(
            f"{call:10} {count * each:4} completions  scheduled {scheduled:6.2f} ms  one batch {batched:6.2f} ms"
            f"  {batched / scheduled:5.2f} ×"
        )


if __name__ == "__main__":
    main()
