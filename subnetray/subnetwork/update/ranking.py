"""How well a score finds a mask: coordinates ranked by the score, the best first.

Of coordinates that score alike any may come first, so that what is found among the first k is an expectation over their
orders. Average precision is Σᵢ (Rᵢ − Rᵢ₋₁) Pᵢ over the distinct scores, as information retrieval defines it: no line is
drawn between the points of the precision–recall curve, which would flatter. A score that knows nothing has the mask's
density, whatever that is: it is the chance level of precision and of average precision alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork.bits import ordered_integers
from subnetray.subnetwork.mask import Mask, require_same_shapes
from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.weights import Weights

Counts = npt.NDArray[np.int64]

_NARROW = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Coordinates by distinct score, highest first: how many have it (``totals``), and of them are in the mask."""

    totals: Counts
    hits: Counts

    @classmethod
    def of(cls, scores: Weights, mask: Mask) -> Ranking:
        """All coordinates of ``mask`` by ``scores`` of one dtype, over all tensors together.

        In a format of 16 bits there are few distinct scores, and counting them takes 1 MB; others are sorted, which
        takes 17 bytes a coordinate. Raises ``MismatchError`` if names or shapes differ, ``ValueError`` for a score
        that is NaN.
        """
        require_same_shapes({name: tuple(score.shape) for name, score in scores.items()}, mask.shapes)
        if all(score.dtype in _NARROW for score in scores.values()):
            return cls._counted(scores, mask)
        return cls._sorted(scores, mask)

    @classmethod
    def _counted(cls, scores: Weights, mask: Mask) -> Ranking:
        totals, hits = np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.int64)
        for name, score in scores.items():
            codes = _codes(score)
            totals += np.bincount(codes, minlength=1 << 16)
            hits += np.bincount(codes[mask.flat(name)], minlength=1 << 16)
        there = np.flatnonzero(totals)[::-1]
        return cls(totals[there], hits[there])

    @classmethod
    def _sorted(cls, scores: Weights, mask: Mask) -> Ranking:
        codes = np.concatenate([_codes(score.double()) for score in scores.values()])
        inside = np.concatenate([mask.flat(name) for name in scores])
        order = np.argsort(codes)[::-1]
        codes, inside = codes[order], inside[order]
        last = np.append(np.flatnonzero(codes[1:] != codes[:-1]), codes.size - 1) if codes.size else np.empty(0, int)
        hits = np.cumsum(inside)[last]
        return cls(np.diff(last + 1, prepend=0), np.diff(hits, prepend=0))

    @property
    def n(self) -> int:
        """Coordinates in all."""
        return int(self.totals.sum())

    @property
    def k(self) -> int:
        """Coordinates in the mask."""
        return int(self.hits.sum())

    @property
    def density(self) -> float:
        """k / n, the chance level of :meth:`precision` and :attr:`average_precision`; NaN without coordinates."""
        return ratio(self.k, self.n)

    @property
    def average_precision(self) -> float:
        """The area under the precision–recall curve; NaN for an empty mask."""
        precisions = np.cumsum(self.hits) / np.cumsum(self.totals)
        return ratio(math.fsum(self.hits * precisions), self.k)

    def found(self, budget: int) -> float:
        """How many of the ``budget`` best coordinates are in the mask; expected, where equals share the last places."""
        if not 0 <= budget <= self.n:
            raise ValueError(f"a budget must be from 0 to the {self.n} coordinates that there are, not {budget}")
        # Between two distinct scores what is found grows evenly, which is what drawing from equals gives on average.
        totals, hits = (np.cumsum(np.append(0, counts)) for counts in (self.totals, self.hits))
        return float(np.interp(budget, totals, hits))

    def precision(self, budget: int) -> float:
        """Share of the ``budget`` best that is in the mask; NaN for a budget of 0."""
        return ratio(self.found(budget), budget)

    def recall(self, budget: int) -> float:
        """Share of the mask that is among the ``budget`` best: its precision, where the budget is the mask's own."""
        return ratio(self.found(budget), self.k)

    def enrichment(self, budget: int) -> float:
        """Precision over what chance gives; NaN where there is none."""
        return ratio(self.precision(budget), self.density)


def _codes(score: Tensor) -> npt.NDArray[Any]:
    """Unsigned integers in the order of the scores, flat; raises ``ValueError`` for NaN."""
    if score.isnan().any():
        raise ValueError("a score is NaN: it is neither above nor below the others")
    return ordered_integers(score)
