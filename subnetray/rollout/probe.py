"""What the trainer thinks of one short text, for the engine to be held against after every synchronisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from subnetray.rollout.transfer import SyncError
from subnetray.subnetwork.weights import Weights

# Nats a token. In bf16 engine and trainer differ by 0.010 in the median and 0.029 at most, over five learning rates
# from 1e-6 to 1e-2 and 40 synchronisations of the embedded model; a stale output head by 0.19 and more once training
# at 1e-4 has moved it for 35 steps. What differs by less than this changes the samples no more than rounding does.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Probe:
    """``logprobs``: of every token of ``ids`` but the first, given those before it, as the trainer computes them."""

    ids: list[int]
    logprobs: list[float]

    @classmethod
    def of(cls, model: torch.nn.Module, weights: Weights, ids: Sequence[int]) -> Probe:
        """Ask ``model`` with ``weights``, those that are published: what it holds itself may be more precise."""
        tokens = torch.tensor([list(ids)], device=next(iter(weights.values())).device)
        with torch.no_grad():
            # Tied parameters follow the one that has a name.
            logits = torch.func.functional_call(model, dict(weights), kwargs={"input_ids": tokens, "use_cache": False})
        logprobs = logits.logits[0, :-1].float().log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
        return cls(list(ids), logprobs.tolist())

    def check(self, version: str, logprobs: Sequence[float]) -> float:
        """Mean distance of an engine's log-probabilities from the trainer's, in nats; raises :class:`SyncError`."""
        gap = sum(abs(one - other) for one, other in zip(self.logprobs, logprobs, strict=True)) / len(logprobs)
        if not gap <= TOLERANCE:
            raise SyncError(
                f"the engine that loaded {version} gives a text other log-probabilities than the trainer, by"
                f" {gap:.3g} nats a token (at most {TOLERANCE:g}): weights were not loaded, or only a part of them"
            )
        return gap
