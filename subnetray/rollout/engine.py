"""One vLLM engine that serves many policies of one architecture in turn."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from subnetray.config import Rollout
from subnetray.rollout.copies import Copies
from subnetray.rollout.probe import Probe
from subnetray.rollout.sampling import Samples, Sampling
from subnetray.rollout.transfer import Bits, Update
from subnetray.subnetwork.bits import from_integers

# Read by vLLM when it is imported: one process, no threads that spin beside those of the trainers, no network.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}
CPU_ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
}
# Host copies of weights take this part of the machine's memory at most (beside the last three).
_SHARE_OF_MEMORY = 32


@dataclass(frozen=True)
class Target:
    """The weights that a call is to sample from; ``version`` is what their run calls them, ``shapes`` are by name."""

    version: str
    digest: str
    shapes: Mapping[str, tuple[int, ...]]
    probe: Probe | None


@dataclass(frozen=True)
class Answer:
    """Samples, and what taking up the weights took: seconds, and the probe's distance (0 if there was nothing to do).

    Without ``samples``: the engine holds nothing that the updates start from, and asks for more.
    """

    samples: Samples | None
    sync_s: float = 0.0
    logp_gap: float = 0.0


class Engine:
    """vLLM with the weights that were asked for last, and host copies of some that may be asked for next.

    Weights are named by their digest, so that an engine that is started again, or serves other runs in between, finds
    out by itself what it needs.
    """

    def __init__(self, model: str, rollout: dict[str, Any]) -> None:
        """Load the architecture, the tokenizer and the first weights from the directory ``model``."""
        from vllm import LLM

        # Weights arrive as read-only views of Ray's object store; vLLM copies from them and never writes.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        config = Rollout(**rollout)
        if config.gpus_per_engine > 0:
            memory: dict[str, Any] = {"gpu_memory_utilization": config.gpu_memory_utilization}
        else:
            # vLLM's own sizing on a CPU counts the whole machine's memory as free or fails.
            memory = {"kv_cache_memory_bytes": config.kv_cache_mib << 20, "enforce_eager": True}
        self._llm = LLM(
            model=model,
            dtype=config.dtype,
            max_model_len=config.max_model_len,
            # A cached prefix belongs to the weights that computed it, and weights change with every call.
            enable_prefix_caching=False,
            # The importance-sampling correction needs the probabilities that tokens were really drawn with.
            logprobs_mode="processed_logprobs",
            disable_log_stats=True,
            **memory,
        )
        self._copies = Copies(limit=psutil.virtual_memory().total // _SHARE_OF_MEMORY)
        self._loaded: str | None = None

    def ready(self) -> int:
        """Return the process id: answered once the engine has started."""
        return os.getpid()

    def generate(
        self, target: Target, prompts: Sequence[list[int]], sampling: Sampling, first: int, *updates: Update
    ) -> Answer:
        """Sample one completion a prompt from the weights of ``target``, which ``updates`` lead to, in this order.

        ``first`` is the index that the first prompt has in the whole call. Raises :class:`SyncError` unless the engine
        then holds the weights that the run published.
        """
        start = time.perf_counter()
        gap = 0.0
        if target.digest != self._loaded:
            bits = self._copies.take(target.digest, updates)
            if bits is None:
                return Answer(None)
            # A failure half-way leaves weights that no digest names.
            self._loaded = None
            self._load(bits, target.shapes)
            if target.probe is not None:
                gap = target.probe.check(target.version, self._logprobs(target.probe.ids))
            self._loaded = target.digest
        synchronised = time.perf_counter() - start
        return Answer(self._sample(prompts, sampling, first), synchronised, gap)

    def _load(self, bits: Mapping[str, Bits], shapes: Mapping[str, tuple[int, ...]]) -> None:
        dtype = self._llm.llm_engine.model_config.dtype
        tensors = ((name, from_integers(bits[name], dtype).reshape(shape)) for name, shape in shapes.items())
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": tensors})

    def _logprobs(self, ids: list[int]) -> list[float]:
        """Log-probability of every token of ``ids`` but the first."""
        from vllm import SamplingParams

        # A call of its own: in a call with others it would depend on them which sums are taken in which order.
        params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        (output,) = self._llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
        return [entry[token].logprob for token, entry in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]

    def _sample(self, prompts: Sequence[list[int]], sampling: Sampling, first: int) -> Samples:
        from vllm import SamplingParams

        outputs = self._llm.generate(
            [{"prompt_token_ids": prompt} for prompt in prompts],
            [
                SamplingParams(
                    temperature=sampling.temperature,
                    max_tokens=sampling.max_new_tokens,
                    seed=sampling.seed + first + index,
                    logprobs=0,
                    detokenize=False,
                )
                for index in range(len(prompts))
            ],
            use_tqdm=False,
        )
        drawn = [output.outputs[0] for output in outputs]
        return Samples(
            [list(item.token_ids) for item in drawn],
            [
                [entry[token].logprob for token, entry in zip(item.token_ids, item.logprobs, strict=True)]
                for item in drawn
            ],
        )


def architecture(model: Path) -> str:
    """What two directories must have in common to be served by one engine: the model's config, and its tokenizer."""
    files = ("config.json", "tokenizer.json", "tokenizer_config.json")
    return "\0".join((model / name).read_text() if (model / name).is_file() else "" for name in files)
