"""Spectra: matrices of known singular values and vectors, LAPACK's own, and the stated error of what is randomised."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import decompose, principal_angles, singular_values
from subnetray.subnetwork.update import spectrum as module
from subnetray.subnetwork.update.spectrum import bound_rest, range_basis
from tests.subnetwork.matrices import orthonormal, with_values


@pytest.fixture
def randomised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is small enough to be exact."""
    monkeypatch.setattr(module, "EXACT", 0)


@given(rows=st.integers(1, 20), columns=st.integers(1, 20), k=st.integers(1, 25), seed=st.integers(0, 999))
def test_exact_is_what_lapack_says(rows: int, columns: int, k: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = decompose(matrix, k)
    expected = torch.linalg.svdvals(matrix).numpy()
    assert found.exact
    assert found.k <= min(k, rows, columns)
    np.testing.assert_allclose(found.values, expected, atol=1e-7 * expected[0])
    np.testing.assert_allclose(singular_values([matrix], matrix.shape), found.values, atol=1e-7 * expected[0])
    assert found.energy == pytest.approx(float(matrix.square().sum()))
    for vectors in (found.left, found.right):
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(found.k), atol=1e-7)
    # Each pair of vectors belongs to its value, which also fixes their signs to each other.
    np.testing.assert_allclose(
        matrix @ found.right, found.left.numpy() * found.values[: found.k], atol=1e-6 * expected[0]
    )


def test_what_cannot_be_told_from_zero_has_no_direction() -> None:
    assert decompose(with_values([2.0, 1.0], 9, 7, seed=0), 5).k == 2
    nothing = decompose(torch.zeros(4, 3), 2)
    assert nothing.k == 0
    assert nothing.energy == 0
    assert math.isnan(nothing.captured)
    assert decompose(torch.zeros(4, 0), 2).k == 0


@pytest.mark.parametrize("shape", [(90, 60), (60, 90)])
def test_randomised_finds_what_stands_out(shape: tuple[int, int], randomised: None) -> None:
    values = [10.0, 8.0, 6.0, 4.0] + [0.1 * 0.9**i for i in range(50)]
    matrix = with_values(values, *shape, seed=3)
    found = decompose(matrix, 4)
    assert not found.exact
    np.testing.assert_allclose(found.values, values[:4], rtol=1e-9)
    assert found.energy == pytest.approx(float(np.square(values).sum()))
    assert found.captured == pytest.approx(np.square(values[:4]).sum() / np.square(values).sum())
    left, right = orthonormal(shape[0], len(values), 3)[:, :4], orthonormal(shape[1], len(values), 4)[:, :4]
    assert principal_angles(found.left, left)[-1] < 1e-7
    assert principal_angles(found.right, right)[-1] < 1e-7
    assert found.subspace_error < 1e-6


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.97, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_stated_error_covers_the_true_one(decay: float, seed: int, randomised: None) -> None:
    values = [decay**i for i in range(60)]
    matrix = with_values(values, 80, 60, seed)
    found = decompose(matrix, 8)
    left, right = orthonormal(80, 60, seed)[:, :8], orthonormal(60, 60, seed + 1)[:, :8]
    for mine, true in ((found.left, left), (found.right, right)):
        assert principal_angles(mine, true)[-1] <= found.subspace_error + 1e-7
    assert np.all(found.values <= np.array(values[:8]) + 1e-12)
    if decay == 1.0:  # no direction leads
        assert found.subspace_error > 1


@given(seed=st.integers(0, 10**6), decay=st.sampled_from([0.3, 0.8, 0.99, 1.0]), size=st.integers(1, 20))
def test_what_a_subspace_leaves_is_bounded_and_not_by_far(seed: int, decay: float, size: int) -> None:
    matrix = with_values([decay**i for i in range(40)], 50, 40, seed)
    basis = range_basis(matrix, size)
    rest = float(torch.linalg.matrix_norm(matrix - basis @ (basis.T @ matrix), 2))
    assert rest <= bound_rest(matrix, basis) <= 2 * rest + 1e-12


def test_nothing_is_left_of_what_the_subspace_holds() -> None:
    matrix = with_values([3.0, 2.0], 30, 20, seed=0)
    assert bound_rest(matrix, range_basis(matrix, 5)) < 1e-12
    assert bound_rest(torch.zeros(3, 4), torch.zeros(3, 0, dtype=torch.float64)) == 0


@given(
    angles=st.lists(st.sampled_from([0.0, 1e-12, 1e-7, 1e-3, 0.5, math.pi / 2]), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_a_rotation_by_an_angle_is_that_angle(angles: list[float], seed: int) -> None:
    frame = orthonormal(10, 6, seed)
    a = frame[:, : len(angles)]
    turned = [math.cos(t) * frame[:, i] + math.sin(t) * frame[:, 3 + i] for i, t in enumerate(angles)]
    found = principal_angles(a, torch.stack(turned, dim=1))
    np.testing.assert_allclose(found, sorted(angles), rtol=1e-9, atol=1e-14)
    # The spaces are compared, not the bases.
    np.testing.assert_allclose(principal_angles(a @ orthonormal(len(angles), len(angles), seed), a), 0, atol=1e-14)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_what_cannot_be_squared_has_no_spectrum(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.tensor([[value, 1.0], [0.0, 1.0]], dtype=torch.float64)
    for exact in (4096, 0):
        monkeypatch.setattr(module, "EXACT", exact)
        with pytest.raises(ValueError, match="has no rank"):
            decompose(matrix, 1)


def test_memory_bounding_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix: Tensor = torch.randn(33, 21, generator=torch.Generator().manual_seed(0)).bfloat16()
    whole = [decompose(matrix, 4), decompose(matrix.T, 4)]
    monkeypatch.setattr(module, "_BLOCK", 50)
    for one, two in zip(whole, [decompose(matrix, 4), decompose(matrix.T, 4)], strict=True):
        np.testing.assert_allclose(one.values, two.values, rtol=1e-9, atol=1e-9)
        assert principal_angles(one.left, two.left)[-1] < 1e-9
