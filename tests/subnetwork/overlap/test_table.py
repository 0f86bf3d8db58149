"""Statistics of a pair: identities, hand-worked cases, and the paper's table 4 from its sparsities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork import OverlapCounts, agreement, statistics


@st.composite
def tables(draw: st.DrawFn) -> OverlapCounts:
    """A 2×2 table with no empty margin."""
    a, b, c, d = (draw(st.integers(1, 10**9)) for _ in range(4))
    return OverlapCounts(n=a + b + c + d, k1=a + b, k2=a + c, k12=a)


@given(counts=tables())
def test_statistics_are_their_textbook_formulas(counts: OverlapCounts) -> None:
    a = counts.k12
    b, c = counts.k1 - a, counts.k2 - a
    d = counts.n - a - b - c
    found = statistics(counts)
    observed, chance = (a + d) / counts.n, (counts.k1 * counts.k2 + (counts.n - counts.k1) * (counts.n - counts.k2))
    expected = chance / counts.n**2
    assert found.o1 == pytest.approx(a / (a + b))
    assert found.o2 == pytest.approx(a / (a + c))
    assert found.jaccard == pytest.approx(a / (a + b + c))
    assert found.dice == pytest.approx(2 * a / (2 * a + b + c))
    assert found.odds_ratio == pytest.approx(a * d / (b * c))
    assert found.kappa == pytest.approx((observed - expected) / (1 - expected), abs=1e-6)
    assert found.phi == pytest.approx((a * d - b * c) / math.sqrt((a + b) * (c + d) * (a + c) * (b + d)))
    assert found.enrichment == pytest.approx(found.o1 / (counts.k2 / counts.n))
    assert found.kappa <= found.kappa_max + 1e-12


@given(counts=tables())
def test_the_order_of_the_two_does_not_matter(counts: OverlapCounts) -> None:
    one = statistics(counts)
    two = statistics(OverlapCounts(counts.n, counts.k2, counts.k1, counts.k12))
    assert (one.o1, one.o2) == (two.o2, two.o1)
    for name in ("jaccard", "dice", "kappa", "phi", "odds_ratio", "enrichment", "kappa_max"):
        assert getattr(one, name) == pytest.approx(getattr(two, name))


def test_identical_disjoint_and_empty_masks() -> None:
    same = statistics(OverlapCounts(10, 4, 4, 4))
    assert (same.o1, same.jaccard, same.kappa, same.phi, same.odds_ratio) == (1, 1, 1, 1, math.inf)
    apart = statistics(OverlapCounts(10, 4, 4, 0))
    assert (apart.o1, apart.jaccard, apart.odds_ratio) == (0, 0, 0)
    assert apart.kappa < 0
    empty = statistics(OverlapCounts(10, 0, 4, 0))
    assert math.isnan(empty.o1)
    assert empty.o2 == 0


@pytest.mark.parametrize("counts", [(10, 4, 4, 5), (10, 8, 8, 5), (10, 11, 4, 4)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no two masks have the counts"):
        OverlapCounts(*counts)


@pytest.mark.parametrize(
    ("s1", "s2", "o1", "o2", "enrichment", "jaccard", "by_chance", "kappa", "kappa_max", "ratio", "phi", "odds"),
    [
        (63.3, 63.3, 60.5, 60.6, 1.65, 0.434, 0.225, 0.377, 1.0, 0.38, 0.377, 5.2),
        (63.3, 85.4, 26.7, 67.1, 1.83, 0.236, 0.117, 0.219, 0.455, 0.48, 0.261, 4.4),
        (87.1, 77.0, 59.1, 33.2, 2.57, 0.270, 0.090, 0.311, 0.663, 0.47, 0.331, 6.8),
    ],
    ids=["seed", "data", "seed_data_algorithm"],
)
def test_table_4_of_the_paper_from_its_sparsities(
    s1: float,
    s2: float,
    o1: float,
    o2: float,
    enrichment: float,
    jaccard: float,
    by_chance: float,
    kappa: float,
    kappa_max: float,
    ratio: float,
    phi: float,
    odds: float,
) -> None:
    n = 10**6
    k1, k2 = round(n * (1 - s1 / 100)), round(n * (1 - s2 / 100))
    found = statistics(OverlapCounts(n, k1, k2, round(k1 * o1 / 100)))
    assert found.o2 == pytest.approx(o2 / 100, abs=0.004)
    assert found.enrichment == pytest.approx(enrichment, abs=0.01)
    assert found.jaccard == pytest.approx(jaccard, abs=0.002)
    assert found.kappa == pytest.approx(kappa, abs=0.003)
    assert found.kappa_max == pytest.approx(kappa_max, abs=0.003)
    assert found.kappa_ratio == pytest.approx(ratio, abs=0.007)
    assert found.phi == pytest.approx(phi, abs=0.003)
    assert found.odds_ratio == pytest.approx(odds, abs=0.06)
    # The uniform null: o1 is the other's density, o2 the first's, and nothing is beyond chance.
    uniform = statistics(OverlapCounts(n, k1, k2, round(k1 * k2 / n)))
    assert uniform.o1 == pytest.approx(k2 / n, abs=1e-4)
    assert uniform.o2 == pytest.approx(k1 / n, abs=1e-4)
    assert uniform.jaccard == pytest.approx(by_chance, abs=0.001)
    assert uniform.kappa == pytest.approx(0, abs=1e-4)
    assert uniform.odds_ratio == pytest.approx(1, abs=1e-4)


def test_agreement_of_two_updates_by_hand() -> None:
    init = {"w": torch.tensor([1.0, 1.0, 1.0, 1.0])}
    one = {"w": torch.tensor([2.0, 0.0, 2.0, 1.0])}  # Δ = 1, -1, 1, 0
    two = {"w": torch.tensor([3.0, -1.0, 0.0, 5.0])}  # Δ = 2, -2, -1, 4
    found = agreement(init, one, two)
    assert found.n == 3
    assert found.sign == pytest.approx(2 / 3)
    assert found.cosine == pytest.approx((2 + 2 - 1) / (math.sqrt(3) * 3))
