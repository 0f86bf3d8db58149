"""The null of rows and columns: the model's own identities, and made-up masks whose truth is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import Mask, MismatchError, expected_overlap, margins, pair_counts, tensor_strata
from subnetray.subnetwork.overlap.margins import Margins


def _dense(null: Margins, index: int = 0) -> Tensor:
    left, right = null.factors[index]
    return torch.from_numpy(left @ right.T)


def _mask(**bools: Tensor) -> Mask:
    return Mask.from_bools(bools)


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    density=st.floats(0.02, 0.98),
    spread=st.floats(0, 3),
)
@settings(max_examples=50)
def test_rows_and_columns_have_their_sums_in_expectation(
    seed: int, shape: tuple[int, int], density: float, spread: float
) -> None:
    """Empty and full rows and columns among them; an uneven density by row and column."""
    generator = torch.Generator().manual_seed(seed)
    logits = math.log(density / (1 - density)) + spread * torch.randn(shape[0], 1, generator=generator)
    bools = torch.rand(shape, generator=generator) < torch.sigmoid(
        logits + spread * torch.randn(shape[1], generator=generator)
    )
    found = margins(_mask(w=bools))
    p = _dense(found)
    assert p.min() > -1e-6
    assert p.max() < 1 + 1e-6
    assert p.sum(1).numpy() == pytest.approx(bools.sum(1).numpy(), abs=0.02)
    assert p.sum(0).numpy() == pytest.approx(bools.sum(0).numpy(), abs=0.02)
    # P is additive in logits where it is not 0 or 1: maximum entropy given the sums.
    inside = (p > 1e-4).all(1) & (p < 1 - 1e-4).all(1)
    logit = torch.logit(p[inside])
    if logit.shape[0] > 1:
        difference = logit - logit[:1]
        assert difference.numpy() == pytest.approx(difference.mean(1, keepdim=True).expand_as(difference), abs=1e-2)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_expectations_are_those_of_the_probabilities_whatever_the_layout(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        rows = torch.rand(*shape[:-1], 1, generator=generator) if shape else torch.rand((), generator=generator)
        return torch.rand(shape, generator=generator) < rows

    def mask() -> Mask:
        return _mask(
            a=random(13, 9),
            experts=random(3, 5, 7),
            bias=random(21),
            row=random(1, 6),
            scalar=random(),
            no=random(0, 4),
        )

    one, two, three = mask(), mask(), mask()
    nulls = [margins(each) for each in (one, two, three)]
    found = expected_overlap(nulls[:2], nulls[2])
    for index in range(2):
        other = (one, two)[index]
        expected = sum(float((_dense(nulls[index], i) * _dense(nulls[2], i)).sum()) for i in range(4))
        expected += sum(
            other.flat(name).sum() * three.flat(name).sum() / other.flat(name).size
            for name in ("bias", "row", "scalar")
        )
        assert found[index] == pytest.approx(expected)
    transposed = [margins(_mask(a=each.bools()["a"].T.contiguous())) for each in (one, three)]
    straight = [margins(_mask(a=each.bools()["a"])) for each in (one, three)]
    assert expected_overlap(transposed[:1], transposed[1]) == pytest.approx(expected_overlap(straight[:1], straight[1]))


def test_sparse_masks_have_the_product_of_their_margins() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.rand(300, 1, generator=generator), torch.rand(400, generator=generator)
    one, two = (torch.rand(300, 400, generator=generator) < 0.02 * rows * columns for _ in range(2))
    (found,) = expected_overlap([margins(_mask(w=one))], margins(_mask(w=two)))
    by_rows = (one.sum(1) * two.sum(1)).sum() * (one.sum(0) * two.sum(0)).sum()
    assert found == pytest.approx(float(by_rows) / float(one.sum() * two.sum()), rel=0.02)


@pytest.mark.parametrize("density", [0.05, 0.3, 0.8])
def test_planted_rows_are_explained_and_planted_coordinates_are_not(density: float) -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (400, 300)

    def left(p: Tensor) -> tuple[float, float]:
        """What the null per tensor and that of rows and columns leave of k12, in standard deviations of chance."""
        one, two = (_mask(w=torch.rand(shape, generator=generator) < p) for _ in range(2))
        strata = tensor_strata(one)
        counts = pair_counts([strata.arrange(one)], [strata.arrange(two)])
        deviation = float((p * p * (1 - p * p)).sum().sqrt())
        (expected,) = expected_overlap([margins(one)], margins(two))
        return float(counts.tensor.excess[0, 0]) / deviation, (float(counts.k12[0, 0]) - float(expected)) / deviation

    def planted(special: Tensor) -> Tensor:
        logit = math.log(density / (1 - density)) + torch.where(special, 3.0, -0.7)
        return torch.sigmoid(logit).expand(shape)

    by_tensor, by_margins = left(planted(torch.rand(400, 1, generator=generator) < 0.2))
    assert by_tensor > 8
    assert abs(by_margins) < 4
    by_tensor, by_margins = left(planted(torch.rand(shape, generator=generator) < 0.2))
    assert by_tensor > 8
    assert by_margins > 8
    _, by_margins = left(torch.full(shape, density))
    assert abs(by_margins) < 4


def test_full_and_empty_masks() -> None:
    full, empty = _mask(w=torch.ones(5, 4) > 0), _mask(w=torch.zeros(5, 4) > 0)
    half = _mask(w=torch.arange(5)[:, None] < torch.tensor([0, 2, 4, 5]))
    nulls = [margins(mask) for mask in (full, empty, half)]
    assert expected_overlap(nulls, nulls[0]) == pytest.approx([20, 0, half.k])
    assert expected_overlap(nulls, nulls[1]) == pytest.approx([0, 0, 0])
    assert expected_overlap(nulls[2:], nulls[2])[0] <= half.k + 1e-6


def test_many_classes_of_rows_take_few_factors() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(900, 1, generator=generator) + torch.randn(700, generator=generator)
    bools = torch.rand(900, 700, generator=generator) < torch.sigmoid(logits)
    found = margins(_mask(w=bools))
    assert found.factors[0][0].shape[1] < 40
    assert _dense(found).sum(1).numpy() == pytest.approx(bools.sum(1).numpy(), abs=1e-3)


def test_masks_of_other_tensors_are_refused() -> None:
    with pytest.raises(MismatchError):
        expected_overlap([margins(_mask(w=torch.ones(4, 4) > 0))], margins(_mask(w=torch.ones(2, 8) > 0)))
