"""Ranks: matrices of known singular values, torch's own, and what shuffling must and must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import mean_ranks, rank, rank_bounds, shuffled
from tests.subnetwork.matrices import random_mask, with_values


@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-30, 1e-6, 1.0, 1e30]),
    data=st.data(),
)
def test_ranks_are_those_of_the_singular_values(
    rows: int, columns: int, seed: int, scale: float, data: st.DataObject
) -> None:
    # Far from the border of what counts as 0, max(rows, columns)·eps.
    values = sorted(
        data.draw(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=min(rows, columns))),
        reverse=True,
    )
    delta = scale * with_values(values, rows, columns, seed)
    found = rank([delta], delta.shape)
    squares = np.square(values)
    shares = np.array(values) / sum(values)
    assert found.full == min(rows, columns)
    assert found.numerical == len(values) == int(torch.linalg.matrix_rank(delta.float()))
    assert found.stable == pytest.approx(squares.sum() / squares[0])
    assert found.entropy == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    shortfall = squares.sum() - np.cumsum(squares)
    # At the border itself rounding may go either way.
    borders = {int(np.count_nonzero(shortfall > (0.01 + slack) * squares.sum())) + 1 for slack in (-1e-9, 1e-9)}
    assert found.energy_99 in borders


@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), density=st.sampled_from([0.02, 0.2]), seed=st.integers(0, 999)
)
def test_numerical_rank_of_a_sparse_update_is_that_of_torch(rows: int, columns: int, density: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    delta = torch.randn(rows, columns, generator=generator) * (torch.rand(rows, columns, generator=generator) < density)
    assert rank([delta], delta.shape).numerical == int(torch.linalg.matrix_rank(delta))


@given(rows=st.integers(2, 30), columns=st.integers(2, 30), size=st.integers(1, 9), seed=st.integers(0, 999))
def test_blocks_make_the_same_matrix(rows: int, columns: int, size: int, seed: int) -> None:
    delta = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    whole = rank([delta], delta.shape)
    parts = delta.split(size, dim=0 if rows >= columns else 1)
    found = rank(reversed(parts), delta.shape)
    turned = rank([delta.T], (columns, rows))
    for other in (found, turned):
        assert (other.full, other.numerical, other.energy_99) == (whole.full, whole.numerical, whole.energy_99)
        assert other.stable == pytest.approx(whole.stable)
        assert other.entropy == pytest.approx(whole.entropy)


def test_small_singular_values_count_down_to_the_tolerance_and_not_below() -> None:
    tolerance = 64 * float(np.finfo(np.float32).eps)
    for factor, counts in ((2.0, 2), (0.5, 1)):
        delta = with_values([1.0, factor * tolerance], 64, 16, seed=0)
        assert rank([delta], delta.shape).numerical == counts


def test_zeros_and_no_entries_have_no_rank() -> None:
    for shape in ((3, 2), (0, 4)):
        found = rank([torch.zeros(shape)], shape)
        assert (found.full, found.numerical, found.energy_99) == (min(shape), 0, 0)
        assert math.isnan(found.stable)
        assert math.isnan(found.entropy)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_what_cannot_be_squared_has_no_rank(value: float) -> None:
    with pytest.raises(ValueError, match="has no rank"):
        rank([torch.tensor([[value, 1.0], [0.0, 1.0]], dtype=torch.float64)], (2, 2))


@pytest.mark.parametrize(("matrix", "full", "ranks"), [(torch.eye(5), 5, 5), (torch.ones(6, 4), 4, 1)])
def test_identity_and_a_rank_one_update_by_hand(matrix: Tensor, full: int, ranks: int) -> None:
    found = rank([matrix], matrix.shape)
    assert (found.full, found.numerical, found.energy_99) == (full, ranks, ranks)
    assert found.stable == pytest.approx(ranks)
    assert found.entropy == pytest.approx(ranks)


def test_shuffling_keeps_the_values_of_a_block_and_follows_its_seed() -> None:
    blocks = [torch.arange(12.0).reshape(3, 4), -torch.ones(2, 4)]
    found = list(shuffled(blocks, seed=1))
    assert [block.shape for block in found] == [block.shape for block in blocks]
    assert all(
        torch.equal(one.flatten().sort().values, two.flatten().sort().values)
        for one, two in zip(blocks, found, strict=True)
    )
    assert not torch.equal(found[0], blocks[0])
    assert torch.equal(found[0], next(shuffled(blocks, seed=1)))
    assert not torch.equal(found[0], next(shuffled(blocks, seed=2)))


def test_a_random_mask_is_full_rank_and_so_says_nothing_but_a_low_rank_update_does() -> None:
    """The trap of the paper's table 2: at 5 % density structure or none, numerical rank is nearly full."""
    generator = torch.Generator().manual_seed(0)
    sparse = torch.randn(256, 256, generator=generator) * (torch.rand(256, 256, generator=generator) < 0.05)
    measured, null = rank([sparse], sparse.shape), rank(shuffled([sparse], 0), sparse.shape)
    assert measured.numerical > 0.99 * 256
    assert measured.stable == pytest.approx(null.stable, rel=0.2)
    low = with_values([1.0] * 8, 256, 256, seed=1)
    assert rank([low], low.shape).energy_99 == 8
    assert rank(shuffled([low], 0), low.shape).energy_99 > 150


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    decay=st.sampled_from([0.01, 0.51, 0.9, 1.0]),
    directions=st.integers(1, 50),
    scale=st.sampled_from([1e-20, 1.0, 1e20]),
    seed=st.integers(0, 10**6),
)
def test_bounds_hold_the_exact_ranks(
    rows: int, columns: int, decay: float, directions: int, scale: float, seed: int
) -> None:
    delta = scale * with_values([decay**i for i in range(min(rows, columns))], rows, columns, seed)
    exact, found = rank([delta], delta.shape), rank_bounds(delta, directions)
    assert (found.full, found.directions) == (exact.full, min(directions, exact.full))
    for name in ("numerical", "energy_99"):
        low, high = getattr(found, name)
        assert low <= getattr(exact, name) <= high
    assert found.stable[0] * (1 - 1e-9) <= exact.stable <= found.stable[1] * (1 + 1e-9)
    best = np.square(np.linalg.svd(delta.numpy() / scale, compute_uv=False))
    assert found.captured <= best[:directions].sum() / best.sum() + 1e-9
    if directions >= exact.full:
        assert found.energy_99[0] == found.energy_99[1]
        assert found.captured == pytest.approx(1)


def test_bounds_of_a_planted_update_are_its_ranks_and_those_of_a_random_mask_are_wide() -> None:
    low = with_values([3.0, 2.0, 1.0, 1.0], 300, 200, seed=0)
    exact, found = rank([low], low.shape), rank_bounds(low, 16)
    assert found.numerical == (4, 4)
    assert found.energy_99 == (exact.energy_99, exact.energy_99)
    assert found.stable == pytest.approx((exact.stable, exact.stable))
    scattered = random_mask(300, 200, 0.05, seed=0).double()
    found = rank_bounds(scattered, 16)
    assert found.numerical == (16, 200)
    assert found.energy_99[0] > 16
    assert found.energy_99[1] == 200
    assert found.captured < 0.5


def test_bounds_of_what_has_no_rank() -> None:
    found = rank_bounds(torch.zeros(5, 3), 2)
    assert (found.numerical, found.energy_99) == ((0, 0), (0, 0))
    assert math.isnan(found.captured)
    with pytest.raises(ValueError, match="has no rank"):
        rank_bounds(torch.tensor([[math.inf, 1.0]]), 1)


def _model(matrices: int, seed: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(12, 30), (30, 12), (16, 16)]
    found = {f"{i}.weight": torch.randn(shapes[i % 3], generator=generator).to(dtype) for i in range(matrices)}
    return found | {"norm.weight": torch.randn(30, generator=generator).to(dtype)}


def test_mean_ranks_are_those_of_torch_over_all_matrices() -> None:
    init, final = _model(7, 0), _model(7, 1)
    final["3.weight"] = init["3.weight"].clone()  # of rank 0
    final["5.weight"] = init["5.weight"].clone()
    final["5.weight"][3, 4] += 1
    found = mean_ranks(init, final, 16)
    assert found is not None
    assert (found.matrices, found.of) == (7, 7)
    deltas = [final[name].float() - init[name].float() for name in init if init[name].dim() == 2]
    numerical = [int(torch.linalg.matrix_rank(delta)) / min(delta.shape) for delta in deltas]
    assert found.update["numerical"] == pytest.approx(sum(numerical) / 7)
    alone = [rank([delta], delta.shape) for delta in deltas]
    for name in ("stable", "entropy", "energy_99"):
        shares = [float(getattr(each, name)) / each.full for each in alone]
        assert found.update[name] == pytest.approx(sum(share for share in shares if share == share) / 7)


def test_mean_ranks_of_a_matrix_of_few_directions_lie_below_those_of_its_entries_anywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    init = {"a": torch.zeros(40, 60), "b": torch.zeros(60, 40)}
    final = {
        name: torch.randn(*tensor.shape[:1], 2, generator=generator) @ torch.randn(2, tensor.shape[1])
        for name, tensor in init.items()
    }
    found = mean_ranks(init, final, 2)
    assert found is not None
    assert found.update["numerical"] == found.update["energy_99"] == pytest.approx(2 / 40)
    assert found.shuffled["numerical"] == 1
    assert found.shuffled["energy_99"] > 0.5


def test_mean_ranks_are_of_matrices_from_all_over_the_model() -> None:
    init = {str(i): torch.zeros(4, 4) for i in range(10)}
    final = {name: tensor.clone() for name, tensor in init.items()}
    for place in (1, 3, 5, 7, 9):  # the middles of five parts
        final[str(place)][0, 0] = 1.0
    found = mean_ranks(init, final, 5)
    assert found is not None
    assert (found.matrices, found.of, found.update["numerical"]) == (5, 10, 0.25)
    assert found == mean_ranks(init, final, 5)


def test_experts_are_matrices_and_norms_and_what_is_too_large_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    init = {
        "experts": torch.zeros(3, 4, 6),
        "norm": torch.zeros(6),
        "large": torch.zeros(9, 9),
        "empty": torch.ones(0, 3),
    }
    final = {
        name: tensor + torch.eye(*tensor.shape[-2:]) if tensor.dim() > 1 else tensor for name, tensor in init.items()
    }
    monkeypatch.setattr("subnetray.subnetwork.update.rank.LARGEST", 8)
    found = mean_ranks(init, final, 16)
    assert found is not None
    assert (found.matrices, found.of, found.update["numerical"]) == (3, 4, 1.0)
    assert mean_ranks(init, final, 0) is None
    assert mean_ranks({"norm": init["norm"]}, final | {}, 0) is None
