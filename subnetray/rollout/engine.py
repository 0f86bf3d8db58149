"""One vLLM engine that serves many policies of one architecture in turn."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from subnetray.config import Rollout
from subnetray.rollout.sampling import Samples, Sampling

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


class Engine:
    """vLLM with the weights of the policy version that was asked for last.

    ``version`` names weights: the engine takes those it is given only if it does not hold that version already.
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
        self._version: str | None = None

    def ready(self) -> int:
        """Return the process id: answered once the engine has started."""
        return os.getpid()

    def generate(
        self,
        version: str,
        weights: Mapping[str, tuple[npt.NDArray[Any], tuple[int, ...]]],
        prompts: Sequence[list[int]],
        sampling: Sampling,
        first: int,
    ) -> Samples:
        """Sample one completion a prompt from the policy ``version``.

        ``weights`` maps parameter names to their bits (flat, see ``subnetwork.bits``) and shapes, in the engine's
        dtype; ``first`` is the index that the first prompt has in the whole call.
        """
        from vllm import SamplingParams

        if version != self._version:
            self._load(weights)
            self._version = version
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

    def _load(self, weights: Mapping[str, tuple[npt.NDArray[Any], tuple[int, ...]]]) -> None:
        from subnetray.subnetwork.bits import from_integers

        # A failure half-way leaves weights that no version names.
        self._version = None
        dtype = self._llm.llm_engine.model_config.dtype
        tensors = ((name, from_integers(bits, dtype).reshape(shape)) for name, (bits, shape) in weights.items())
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": tensors})


def architecture(model: Path) -> str:
    """What two directories must have in common to be served by one engine: the model's config, and its tokenizer."""
    files = ("config.json", "tokenizer.json", "tokenizer_config.json")
    return "\0".join((model / name).read_text() if (model / name).is_file() else "" for name in files)
