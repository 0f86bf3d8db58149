"""Overlap of two masks: every statistic of the 2×2 table, and whether their updates agree where they meet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.visible import changed, require_same_layout
from subnetray.subnetwork.weights import Weights


@dataclass(frozen=True)
class OverlapCounts:
    """The 2×2 table: ``n`` coordinates, ``k1`` and ``k2`` in either mask, ``k12`` in both."""

    n: int
    k1: int
    k2: int
    k12: int

    def __post_init__(self) -> None:
        if not (
            max(0, self.k1 + self.k2 - self.n) <= self.k12 <= min(self.k1, self.k2) <= max(self.k1, self.k2) <= self.n
        ):
            raise ValueError(f"no two masks have the counts n={self.n}, k1={self.k1}, k2={self.k2}, k12={self.k12}")


@dataclass(frozen=True)
class Overlap:
    """Statistics of :class:`OverlapCounts`; with a = k12, b = k1 - k12, c = k2 - k12, d = n - k1 - k2 + k12:

    ==================== ====================================== ===============================================
    o1, o2               k12/k1, k12/k2                         the paper's overlaps (section 6)
    overlap_coefficient  k12/min(k1, k2)
    jaccard              k12/(k1 + k2 - k12)
    dice                 2·k12/(k1 + k2)
    kappa                2(ad - bc)/(k1(n - k2) + k2(n - k1))   Cohen's κ: agreement beyond that of independence
    kappa_max            κ at k12 = min(k1, k2)                 the highest κ that k1 and k2 permit
    kappa_ratio          κ/κmax
    phi                  (ad - bc)/√(k1·k2·(n - k1)·(n - k2))   correlation of the two bits
    odds_ratio           ad/(bc)                                inf when only bc is 0
    enrichment           k12·n/(k1·k2)                          observed over uniform expectation
    ==================== ====================================== ===============================================

    A statistic is NaN where its formula is 0/0: for instance o1 of an empty mask, κ of two empty or two full masks,
    φ as soon as one mask is empty or full.
    """

    o1: float
    o2: float
    overlap_coefficient: float
    jaccard: float
    dice: float
    kappa: float
    kappa_max: float
    kappa_ratio: float
    phi: float
    odds_ratio: float
    enrichment: float


@dataclass(frozen=True)
class Agreement:
    """Two updates on the ``n`` coordinates that both changed.

    ``sign`` is the share of them with the same sign of Δ, ``cosine`` that of the two Δ restricted to them (fp64).
    Both are NaN for n = 0; ``cosine`` is NaN if a Δ is not finite.
    """

    sign: float
    cosine: float
    n: int


def statistics(counts: OverlapCounts) -> Overlap:
    """All statistics of a pair, from exact integer arithmetic: every one is rounded only in its last division."""
    n, k1, k2, k12 = counts.n, counts.k1, counts.k2, counts.k12
    smaller = min(k1, k2)
    excess = n * k12 - k1 * k2  # = ad - bc
    highest = n * smaller - k1 * k2
    disagreement = k1 * (n - k2) + k2 * (n - k1)
    return Overlap(
        o1=ratio(k12, k1),
        o2=ratio(k12, k2),
        overlap_coefficient=ratio(k12, smaller),
        jaccard=ratio(k12, k1 + k2 - k12),
        dice=ratio(2 * k12, k1 + k2),
        kappa=ratio(2 * excess, disagreement),
        kappa_max=ratio(2 * highest, disagreement),
        kappa_ratio=ratio(excess, highest),
        phi=ratio(excess, math.sqrt(k1 * k2 * (n - k1) * (n - k2))),
        odds_ratio=odds_ratio(k12 * (n - k1 - k2 + k12), (k1 - k12) * (k2 - k12)),
        enrichment=ratio(k12 * n, k1 * k2),
    )


def agreement(init: Weights, final_a: Weights, final_b: Weights) -> Agreement:
    """Agreement of two updates of the same ``init`` where both are visible."""
    require_same_layout(init, final_a)
    require_same_layout(init, final_b)
    n, same, dot, norm_a, norm_b = 0, 0, 0.0, 0.0, 0.0
    for name, tensor in init.items():
        both = changed(tensor, final_a[name]) & changed(tensor, final_b[name])
        start = tensor[both].double()
        a, b = final_a[name][both].double() - start, final_b[name][both].double() - start
        n += a.numel()
        same += int((torch.sign(a) == torch.sign(b)).sum())
        dot += float(a @ b)
        norm_a += float(a @ a)
        norm_b += float(b @ b)
    return Agreement(sign=ratio(same, n), cosine=ratio(dot, math.sqrt(norm_a) * math.sqrt(norm_b)), n=n)


def odds_ratio(concordant: float, discordant: float) -> float:
    """``concordant / discordant``; inf when only the latter is 0, NaN when both are."""
    if discordant:
        return concordant / discordant
    return math.inf if concordant else math.nan
