"""What the trainer thinks of some tokens, for the engine to be held against after every synchronisation.

They are those of one short text, or of rollouts, where the trainer computes their log-probabilities anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from subnetray.rollout.sync.transfer import SyncError
from subnetray.subnetwork.weights import Weights

# How far engine and trainer may be apart, as a share of 1 + the text's mean negative log-likelihood (nats a token): the
# unlikely is rounded more. In bf16 they differ by at most 0.008 of that with the embedded model (200 synchronisations
# at learning rates from 1e-6 to 1e-2) and 0.02 with SmolLM2-135M (6 at 1e-5, 18 texts each); a stale output head, once
# training at 1e-4 has moved it for 35 steps, by 0.024 and soon more. Weights whose effect is below this may be stale.
# Over a batch of rollouts, some hundreds of tokens, they differ by at most 0.012 (the 36 GRPO runs of +grid=origins).
TOLERANCE = 0.04


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
        """:func:`distance` of what an engine gives this text; raises :class:`SyncError` as it does."""
        return distance(version, self.logprobs, logprobs)


def distance(version: str, trainer: Sequence[float], engine: Sequence[float]) -> float:
    """Mean distance of an engine's log-probabilities of some tokens from the trainer's, in nats.

    Raises :class:`SyncError` if the engine that was to load ``version`` cannot have its weights.
    """
    gap = sum(abs(one - other) for one, other in zip(trainer, engine, strict=True)) / len(trainer)
    most = TOLERANCE * (1 - sum(trainer) / len(trainer))
    if not gap <= most:
        raise SyncError(
            f"the engine that loaded {version} gives a text other log-probabilities than the trainer, by"
            f" {gap:.3g} nats a token (at most {most:.3g}): weights were not loaded, or only a part of them"
        )
    return gap
