"""Analysis of variance against its definition, a worked example and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from subnetray.analysis.anova import two_way

tables = arrays(np.float64, array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=4), elements=st.floats(-9, 9))


def test_additive_effects_without_noise_are_all_explained() -> None:
    # Rows -1, 1; columns -2, 0, 2; 4 blocks: sums of squares 12 · 2 and 8 · 8.
    values = np.array([-1.0, 1.0])[:, None, None] + np.array([-2.0, 0.0, 2.0])[None, :, None] + np.zeros((1, 1, 4))
    anova = two_way(values)
    assert (anova.rows.squares, anova.columns.squares) == pytest.approx((24, 64))
    assert (anova.rows.eta, anova.columns.eta) == pytest.approx((24 / 88, 64 / 88))
    assert anova.rows.partial_eta == pytest.approx(1)
    assert anova.interaction.squares == pytest.approx(0)
    assert (anova.rows.df, anova.columns.df, anova.interaction.df, anova.error_df) == (1, 2, 2, 15)


def test_a_textbook_f_test() -> None:
    # 2 x 2 with 2 blocks; by hand: rows 8, columns 2, interaction 0.5, blocks 0.5, total 12, error 1 on 3.
    values = np.array([[[1.0, 2.0], [2.5, 2.0]], [[3.0, 3.5], [4.0, 5.0]]])
    anova = two_way(values)
    mean = values.mean()
    rows = 4 * ((values.mean(axis=(1, 2)) - mean) ** 2).sum()
    columns = 4 * ((values.mean(axis=(0, 2)) - mean) ** 2).sum()
    blocks = 4 * ((values.mean(axis=(0, 1)) - mean) ** 2).sum()
    within = 2 * ((values.mean(axis=2) - mean) ** 2).sum()
    error = ((values - mean) ** 2).sum() - within - blocks
    assert anova.rows.squares == pytest.approx(rows)
    assert anova.columns.squares == pytest.approx(columns)
    assert anova.interaction.squares == pytest.approx(within - rows - columns)
    assert anova.rows.partial_eta == pytest.approx(rows / (rows + error))
    # The tail of F(1, 3) is that of a t with 3 degrees of freedom: 1/2 - (atan(u) + u/(1 + u²))/π with u = t/√3.
    u = np.sqrt(rows / (error / 3) / 3)
    assert anova.rows.p == pytest.approx(1 - 2 / np.pi * (np.arctan(u) + u / (1 + u**2)))


@given(tables, st.floats(-5, 5), st.floats(0.5, 4))
def test_shares_do_not_depend_on_origin_scale_order_or_which_factor_is_first(
    values: np.ndarray[tuple[int, int, int], np.dtype[np.float64]], shift: float, scale: float
) -> None:
    if np.ptp(values) < 1e-3:
        values = values + np.arange(values.size, dtype=np.float64).reshape(values.shape)
    anova = two_way(values)
    moved = two_way((scale * values + shift)[::-1, ::-1, ::-1])
    turned = two_way(values.transpose(1, 0, 2))
    assert moved.rows.eta == pytest.approx(anova.rows.eta, abs=1e-9)
    assert moved.columns.eta == pytest.approx(anova.columns.eta, abs=1e-9)
    assert (turned.rows.eta, turned.columns.eta) == pytest.approx((anova.columns.eta, anova.rows.eta), abs=1e-9)
    assert anova.rows.eta + anova.columns.eta + anova.interaction.eta <= 1 + 1e-9


def test_blocks_are_not_error() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 3, 4))
    shifted = values + 10 * np.arange(4)
    assert two_way(shifted).rows.partial_eta == pytest.approx(two_way(values).rows.partial_eta)
    assert two_way(shifted).rows.eta < two_way(values).rows.eta


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 1, 2), (2, 2, 1), (2, 2)])
def test_too_few_levels_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two rows, columns and blocks"):
        two_way(np.zeros(shape))
