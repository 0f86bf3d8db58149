"""What is asked of an engine, and what comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; ``temperature`` 0 is greedy decoding.

    Completion i of a call has a random generator of its own, seeded by ``seed`` + i: it does not depend on how
    the call is split over engines.
    """

    temperature: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class Samples:
    """Completions in the order of their prompts, as token ids, the end-of-sequence token included where it was drawn.

    ``logprobs`` holds for every token the log-probability under the distribution it was drawn from (after
    temperature), as the engine computed it.
    """

    completions: list[list[int]]
    logprobs: list[list[float]]


def concatenate(parts: Sequence[Samples]) -> Samples:
    """The samples of consecutive parts of a call."""
    return Samples(
        [ids for part in parts for ids in part.completions],
        [values for part in parts for values in part.logprobs],
    )


def derive_seed(*parts: object) -> int:
    """A seed of 48 bits for one purpose: far from those of other purposes, the same in every process."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:6], "big")
