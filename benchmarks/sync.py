"""Bytes and seconds of bringing new weights to a vLLM engine in a Ray actor: whole, or what changed in one step.

    python benchmarks/sync.py [sizes, default tiny,small,135m]

Random Llama models, whose fp32 weights move by up to 1e-6 a coordinate and step, as AdamW's do at that rate; the engine
gets them in bf16. ``whole`` is what one writes by hand (all tensors through Ray's object store, then vLLM's reload)
and checks nothing; ``sparse`` is what runs do, with checksums of all tensors and the log-probability probe. The two in
turn; medians.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from subnetray.config import Cluster, Rollout
from subnetray.driver import cluster
from subnetray.models.tokenizer import make_tokenizer
from subnetray.rollout import Policy, Probe, Sampling
from subnetray.rollout.vllm import VLLMEngine
from subnetray.subnetwork import named_weights
from subnetray.subnetwork.bits import flat_integers, from_integers

ROUNDS = 7
LR = 1e-6
PROBE = list(range(2, 12))
# vocabulary, width, inner width, layers, heads, heads for keys and values; the last are SmolLM2-135M's
SIZES = {
    "tiny": (16, 128, 384, 2, 4, 2),
    "small": (1024, 256, 768, 4, 8, 4),
    "135m": (49152, 576, 1536, 30, 9, 3),
}


class ByHand(VLLMEngine):
    """Takes whole weights and checks nothing."""

    def load_whole(self, bits: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
        self._load({name: from_integers(bits[name], self._dtype).reshape(shape) for name, shape in shapes.items()})
        self._loaded = None


def model(size: str) -> LlamaForCausalLM:
    """Random weights; embeddings are tied."""
    vocabulary, width, inner, layers, heads, kv_heads = SIZES[size]
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=128,
            tie_word_embeddings=True,
        )
    )


def measure(size: str, directory: Path) -> None:
    """Print one line."""
    trained = model(size)
    trained.to(torch.bfloat16).save_pretrained(directory)
    trained.float()
    make_tokenizer(128).save_pretrained(directory)
    engine = (
        ray.remote(ByHand)
        .options(num_cpus=0, runtime_env={"env_vars": VLLMEngine.environment(gpu=False)})
        .remote(directory, Rollout())
    )
    policy = Policy([engine], size, timeout_s=600)
    shapes = {name: tuple(tensor.shape) for name, tensor in trained.named_parameters()}

    def publish(version: str) -> None:
        weights = named_weights(trained, torch.bfloat16)
        policy.publish(weights, version, Probe.of(trained, weights, PROBE))
        policy.sample([PROBE[:2]], Sampling(1.0, 1, seed=0))

    publish("init")
    seconds: dict[str, list[float]] = {"whole": [], "sparse": []}
    sent = policy.sync.bytes
    for step in range(ROUNDS):
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter += LR * (2 * torch.rand_like(parameter) - 1)
        start = time.perf_counter()
        weights = named_weights(trained, torch.bfloat16)
        bits = ray.put({name: flat_integers(tensor) for name, tensor in weights.items()})
        ray.get(engine.load_whole.remote(bits, shapes))
        seconds["whole"].append(time.perf_counter() - start)
        del bits, weights
        start = time.perf_counter()
        publish(f"step-{step}")
        seconds["sparse"].append(time.perf_counter() - start)
    whole, sparse = (statistics.median(values) for values in seconds.values())
    dense = policy.sync.dense_bytes // policy.sync.publishes
    share = (policy.sync.bytes - sent) / ROUNDS / dense
    n = sum(parameter.numel() for parameter in trained.parameters())
    print(
        f"{size:6} {n / 1e6:7.1f} M parameters  whole {dense / 1e6:8.2f} MB {1e3 * whole:8.1f} ms"
        f"  sparse {share * dense / 1e6:8.3f} MB {1e3 * sparse:8.1f} ms"
        f"  bytes {100 * share:5.2f} %  seconds {sparse / whole:5.2f} ×  largest gap {policy.sync.logp_gap:.3f} nats"
    )
    ray.kill(engine)


def main() -> None:
    """Print a line a size."""
    sizes = sys.argv[1].split(",") if len(sys.argv) > 1 else list(SIZES)
    logging.disable_progress_bar()
    cluster.start(Cluster())
    try:
        for size in sizes:
            with tempfile.TemporaryDirectory() as directory:
                measure(size, Path(directory))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
