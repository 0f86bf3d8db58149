"""What an engine has been asked already: runs of a sweep start from the same weights, and sample from them alike."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

from subnetray.rollout.sampling import Samples, Sampling

_TOKENS = 1_000_000  # about 60 MB


class Memory:
    """Samples by what was asked, the latest of ``limit`` tokens."""

    def __init__(self, limit: int = _TOKENS) -> None:
        self._limit, self._size = limit, 0
        self._kept: dict[Hashable, Samples] = {}

    def recall(self, question: Hashable) -> Samples | None:
        """The samples of a question that was asked before, if they are still kept."""
        samples = self._kept.pop(question, None)
        if samples is not None:
            self._kept[question] = samples  # now the latest
        return samples

    def keep(self, question: Hashable, samples: Samples) -> None:
        """Keep the answer to a question that :meth:`recall` did not know; what was asked for longest ago goes first."""
        self._kept[question] = samples
        self._size += _tokens(samples)
        while self._size > self._limit:
            self._size -= _tokens(self._kept.pop(next(iter(self._kept))))


def question(weights: str, prompts: Sequence[list[int]], sampling: Sampling, first: int) -> Hashable:
    """All that decides the samples, as a key: ``weights`` is their digest."""
    return weights, hashlib.sha256(repr(prompts).encode()).digest(), sampling, first


def _tokens(samples: Samples) -> int:
    return sum(map(len, samples.completions))
