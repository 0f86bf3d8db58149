"""What tests of engines share: prompts, a model that is trained a little, and what an engine draws of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from subnetray.config import Rollout
from subnetray.rollout import Policy, Probe, Samples, Sampling
from subnetray.subnetwork import named_weights
from tests.rounding import Rounding

ROLLOUT = Rollout()
PROMPTS = [[3, 12, 4, 15], [9, 9, 13, 2, 15], [5, 5, 12, 6, 6, 15]]
PROBE = [3, 4, 12, 5, 6, 15, 10, 2, 1]

Weights = dict[str, torch.Tensor]


class Trained:
    """A model with fp32 masters that walks at random, ``lr`` a step, as Adam would; its embeddings are tied."""

    def __init__(self, tiny: Path, seed: int, lr: float = 1e-5) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        self._generator = torch.Generator().manual_seed(seed)
        self._lr = lr

    def step(self) -> Weights:
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter += self._lr * torch.randn(parameter.shape, generator=self._generator).sign()
        return self.weights()

    def weights(self) -> Weights:
        return named_weights(self.model, torch.bfloat16)

    def probe(self) -> Probe:
        return Probe.of(self.model, self.weights(), PROBE)


def samples_of(policy: Policy, seed: int) -> Samples:
    """Sample five tokens of each prompt."""
    return policy.sample(PROMPTS, Sampling(1.0, 5, seed=seed))


def apart(tiny: Path, prompts: Sequence[list[int]], samples: Samples) -> float:
    """Return how far apart rounding may take two engines' log-probabilities, of weights near those of ``tiny``."""
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    return Rounding(model).between_two(prompts, samples)


def dense(engine: Any, weights: Weights) -> Policy:
    """Return a policy that has published ``weights`` whole."""
    policy = Policy([engine], "dense", timeout_s=300)
    policy.publish(weights, "whole")
    return policy
