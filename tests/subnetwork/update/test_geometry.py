"""Geometry: random masks show nothing, planted structure shows, and bf16's own structure is told from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import (
    MismatchError,
    decompose,
    enrichment,
    matrix_geometry,
    principal_weights,
    profile,
    profile_correlation,
    small_weights,
    spectral_drift,
    ulp_ids,
)
from subnetray.subnetwork.update import geometry as module
from tests.subnetwork.matrices import moved, orthonormal, random_mask, weights, with_values
from tests.subnetwork.strategies import DTYPES


@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    strata=st.integers(1, 4),
    seed=st.integers(0, 999),
    chunk=st.sampled_from([1, 7, 1 << 20]),
)
def test_profiles_are_those_of_sums_and_of_the_hypergeometric_distribution(
    rows: int, columns: int, strata: int, seed: int, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    mask, ids = rng.random((rows, columns)) < 0.4, rng.integers(0, strata, (rows, columns)).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        found = [profile(torch.from_numpy(mask), axis, ids.reshape(-1)) for axis in (0, 1)]
    for axis, one in enumerate(found):
        across = 1 - axis
        expected = np.zeros(mask.shape[axis])
        variance = np.zeros(mask.shape[axis])
        for b in range(strata):
            n, k, cells = (ids == b).sum(), mask[ids == b].sum(), (ids == b).sum(axis=across)
            if n:
                expected += k * cells / n
            if n > 1:
                variance += k * (cells / n) * (1 - cells / n) * (n - k) / (n - 1)
        assert one.counts.tolist() == mask.sum(axis=across).tolist()
        assert one.length == mask.shape[across]
        np.testing.assert_allclose(one.expected, expected)
        np.testing.assert_allclose(one.variance, variance, atol=1e-12)
        np.testing.assert_allclose(one.densities, mask.mean(axis=across))


@given(seed=st.integers(0, 999))
def test_transposing_swaps_rows_and_columns(seed: int) -> None:
    mask = random_mask(9, 14, 0.3, seed)
    ids = np.random.default_rng(seed).integers(0, 3, (9, 14)).astype(np.uint8)
    turned = np.ascontiguousarray(ids.T).reshape(-1)
    for axis in (0, 1):
        one, two = profile(mask, axis, ids.reshape(-1)), profile(mask.T, 1 - axis, turned)
        assert one.counts.tolist() == two.counts.tolist()
        np.testing.assert_allclose(one.variance, two.variance)
        assert one.cv == pytest.approx(two.cv)


def test_a_profile_by_hand() -> None:
    mask = torch.tensor([[True, True, True, True], [False, False, False, False]])
    found = profile(mask, 0)
    assert found.cv == 1
    assert found.expected.tolist() == [2, 2]
    # Each row: 4 draws of 8 with 4 marked: 4·½·½·4/7 = 4/7; observed 2² + 2².
    assert found.dispersion == pytest.approx(8 / (8 / 7))
    assert profile(mask, 1).dispersion == 0
    for full in (torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)):
        assert math.isnan(profile(full, 0).dispersion)
    assert math.isnan(profile(torch.zeros(2, 3, dtype=torch.bool), 0).cv)


def test_bits_put_anywhere_are_not_dispersed_and_stripes_are() -> None:
    scattered = random_mask(400, 500, 0.2, seed=0)
    for axis, lines in ((0, 400), (1, 500)):
        assert profile(scattered, axis).dispersion == pytest.approx(1, abs=5 * math.sqrt(2 / lines))
    striped = scattered | (torch.arange(400) % 8 == 0)[:, None]
    assert profile(striped, 0).dispersion > 50
    assert profile(striped, 1).dispersion < 1


def test_rows_of_other_magnitude_are_no_stripes_within_ulp_strata() -> None:
    """In bf16 rows of small weights change more: striped for the uniform null, not for the stratified one."""
    init = (weights(300, 400, 0, torch.float32) * torch.linspace(0.2, 3, 300)[:, None]).bfloat16()
    mask = init != moved(init, 3e-5, seed=1)
    ids = ulp_ids(init)
    assert profile(mask, 0).dispersion > 20
    assert profile(mask, 0, ids).dispersion == pytest.approx(1, abs=0.5)
    again = init != moved(init, 3e-5, seed=2)
    assert profile_correlation(profile(mask, 0), profile(again, 0)) > 0.9
    assert abs(profile_correlation(profile(mask, 0, ids), profile(again, 0, ids))) < 0.3


def test_profiles_of_runs_with_shared_rows_correlate() -> None:
    rows = torch.rand(200, 1, generator=torch.Generator().manual_seed(0))
    a, b = (torch.rand(200, 300, generator=torch.Generator().manual_seed(seed)) < rows for seed in (1, 2))
    assert profile_correlation(profile(a, 0), profile(b, 0)) > 0.95
    assert abs(profile_correlation(profile(a, 1), profile(b, 1))) < 0.3
    assert profile_correlation(profile(a, 0), profile(a, 0)) == pytest.approx(1)
    assert profile_correlation(profile(a, 0), profile(~a, 0)) == pytest.approx(-1)
    assert math.isnan(profile_correlation(profile(a, 0), profile(torch.ones_like(a), 0)))


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.01, 0.3, 0.5, 1.0]), dtype=st.sampled_from(DTYPES))
def test_small_weights_are_the_smallest_with_all_their_equals(seed: int, share: float, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    matrix = torch.from_numpy(rng.integers(-9, 10, (6, 7)) * 10.0 ** rng.integers(-3, 1)).to(dtype)
    found = small_weights(matrix, share)
    sizes = np.sort(matrix.abs().double().numpy().ravel())
    assert torch.equal(found, matrix.abs().double() <= sizes[math.ceil(share * 42) - 1])


@given(seed=st.integers(0, 999), share=st.sampled_from([0.05, 0.5]))
def test_principal_weights_are_the_largest_of_the_low_rank_part(seed: int, share: float) -> None:
    matrix = with_values([5.0, 4.0, 1.0, 0.5], 12, 9, seed)
    left, values, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    part = np.abs(left[:, :2] * values[:2] @ right[:2])
    chosen = principal_weights(decompose(matrix, 2), share).numpy()
    count = math.ceil(share * part.size)
    assert chosen.sum() == count
    assert part[chosen].min() >= part[~chosen].max() - 1e-6


@pytest.mark.parametrize("target", ["principal", "small"])
def test_random_masks_are_not_enriched_and_planted_ones_are(target: str) -> None:
    init = weights(200, 300, seed=0)
    aim = principal_weights(decompose(init, 10), 0.05) if target == "principal" else small_weights(init, 0.05)
    scattered = enrichment(random_mask(200, 300, 0.2, seed=1), aim)
    assert scattered.enrichment == pytest.approx(1, abs=0.1)
    assert scattered.odds_ratio == pytest.approx(1, abs=0.15)
    planted = enrichment(aim, aim)
    assert planted.counts.k12 == planted.counts.k1 == int(aim.sum())
    assert planted.enrichment == pytest.approx(60000 / int(aim.sum()))
    assert planted.odds_ratio == math.inf
    apart = enrichment(~aim, aim)
    assert (apart.enrichment, apart.odds_ratio) == (0, 0)


def test_an_enrichment_by_hand() -> None:
    mask = torch.tensor([[True, True, False, False]])
    target = torch.tensor([[True, False, True, False]])
    found = enrichment(mask, target)
    assert (found.expected, found.enrichment, found.odds_ratio) == (1, 1, 1)
    # Within {0, 1} the mask is all, within {2, 3} nothing: k12 could not be anything else.
    strata = enrichment(mask, target, np.array([0, 0, 1, 1], np.uint8))
    assert (strata.expected, strata.enrichment) == (1, 1)
    assert math.isnan(strata.odds_ratio)
    assert math.isnan(enrichment(mask & False, target).enrichment)


def test_bf16_alone_avoids_principal_weights_and_the_stratified_null_says_so() -> None:
    """Independent displacements made visible by bf16: what looks off-principal is |w|, and only |w|."""
    init = (with_values([3.0] * 8, 300, 300, seed=0).float() + weights(300, 300, 1, torch.float32)).bfloat16()
    found = matrix_geometry(init, moved(init, 3e-5, seed=2), k=8)
    assert found.principal[0.5].odds_ratio < 0.6
    assert found.small[0.5].odds_ratio > 5
    assert found.principal_within_ulp[0.5].odds_ratio == pytest.approx(1, abs=0.1)
    assert found.principal_within_ulp[0.5].counts == found.principal[0.5].counts


def _drift(init: Tensor, final: Tensor, k: int) -> module.SpectralDrift:
    return spectral_drift(decompose(init, k), decompose(final, k), float(torch.linalg.matrix_norm(final - init)))


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 0.3])
def test_a_rotation_changes_no_singular_value_and_turns_by_its_angle(angle: float) -> None:
    """Left singular vectors 1 and 2 (leading) turned towards 5 and 6 (not): NSS 0, angles as known."""
    values = [9.0, 8.0, 3.0, 2.5, 1.0, 0.5]
    init = with_values(values, 20, 15, seed=0)
    frame = orthonormal(20, 6, seed=0)
    turn = torch.eye(6, dtype=torch.float64)
    for i, j in ((0, 4), (1, 5)):
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[j, i], turn[i, j] = math.sin(angle), -math.sin(angle)
    found = _drift(init, frame @ turn @ frame.T @ init, k=2)
    assert found.nss == pytest.approx(0, abs=1e-7)
    assert found.nss_leading == pytest.approx(0, abs=1e-12)
    assert found.left == pytest.approx(angle, rel=1e-6)
    assert found.left_rms == pytest.approx(angle, rel=1e-6)
    assert found.right == pytest.approx(0, abs=1e-12)
    assert found.relative_norm > 0.5 * angle


@given(seed=st.integers(0, 999), scale=st.sampled_from([1e-6, 1.0, 1e6]), size=st.sampled_from([0.0, 1e-3, 0.5]))
def test_drift_follows_neither_scale_nor_transposition_and_is_bounded(seed: int, scale: float, size: float) -> None:
    init = with_values([5.0, 4.0, 2.0, 1.0, 0.5], 9, 7, seed)
    final = init + size * torch.randn(9, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, scaled, turned = _drift(init, final, 2), _drift(scale * init, scale * final, 2), _drift(init.T, final.T, 2)
    assert found.nss is not None
    assert found.nss <= found.relative_norm + 1e-7
    for other in (scaled, turned):
        assert other.nss == pytest.approx(found.nss, abs=1e-7)
        assert other.nss_leading == pytest.approx(found.nss_leading, abs=1e-9)
    assert scaled.left == pytest.approx(found.left, abs=1e-9)
    assert (turned.left, turned.right) == pytest.approx((found.right, found.left), abs=1e-9)


def test_a_scaled_spectrum_by_hand() -> None:
    init = with_values([3.0, 4.0], 6, 5, seed=0)
    found = _drift(init, 1.1 * init, k=2)
    assert found.nss == pytest.approx(0.1)
    assert found.relative_norm == pytest.approx(0.1)
    nothing = _drift(torch.zeros(3, 2, dtype=torch.float64), init[:3, :2], k=2)
    assert math.isnan(nothing.left)
    assert nothing.nss is not None
    assert math.isnan(nothing.nss)


def test_geometry_is_that_of_its_parts() -> None:
    init = weights(40, 64, seed=0)
    final = moved(init, 3e-5, seed=1)
    found, mask = matrix_geometry(init, final), init != final
    assert found.drift.k == 5
    assert found.rows.counts.tolist() == mask.sum(dim=1).tolist()
    assert found.columns.counts.tolist() == mask.sum(dim=0).tolist()
    assert found.rows_within_ulp.counts.tolist() == found.rows.counts.tolist()
    for share in (0.05, 0.5):
        target = principal_weights(decompose(init, 5), share)
        assert found.principal[share].counts.k12 == int((mask & target).sum())
        assert found.small[share] == enrichment(mask, small_weights(init, share))
    assert found.drift.relative_norm == pytest.approx(
        float((final.double() - init.double()).norm() / init.double().norm())
    )
    turned = matrix_geometry(init.T, final.T)
    assert turned.rows.dispersion == pytest.approx(found.columns.dispersion)
    assert turned.rows_within_ulp.dispersion == pytest.approx(found.columns_within_ulp.dispersion)


def test_beyond_the_exact_size_there_is_no_shift_of_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subnetray.subnetwork.update.spectrum.EXACT", 0)
    init = with_values([9.0, 8.0, 0.1, 0.01], 30, 20, seed=0)
    found = matrix_geometry(init, 1.01 * init, k=2).drift
    assert (found.exact, found.nss) == (False, None)
    assert found.nss_leading == pytest.approx(0.01)
    assert found.left <= found.angle_error + 1e-7
    assert 0 < found.angle_error < 1e-3


def test_other_layouts_and_what_is_not_finite_are_refused() -> None:
    init = weights(4, 5, seed=0)
    with pytest.raises(MismatchError):
        matrix_geometry(init, init[:3])
    with pytest.raises(ValueError, match="not finite"):
        matrix_geometry(init, torch.full_like(init, math.nan))
