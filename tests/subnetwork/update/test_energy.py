"""Concentration of an update: against sorting all of it, by hand, and what must not change it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork import concentration, energy_masks
from tests.subnetwork.matrices import moved, weights

Reals = npt.NDArray[np.float64]


def _read(sizes: Reals, chunk: int = 5) -> Callable[[], Iterable[Reals]]:
    return lambda: (sizes[start : start + chunk] for start in range(0, sizes.size, chunk))


def _gini(sizes: Reals) -> float:
    return float(np.abs(sizes[:, None] - sizes[None]).sum() / (2 * sizes.size**2 * sizes.mean()))


@given(
    sizes=st.lists(st.one_of(st.integers(0, 6).map(float), st.floats(1e-30, 1.0)), min_size=1, max_size=60),
    chunk=st.sampled_from([9, 80]),
    scale=st.sampled_from([1e-30, 1.0, 2.0**20]),
)
def test_concentration_is_that_of_definitions(sizes: list[float], chunk: int, scale: float) -> None:
    array = scale * np.array(sizes)
    found = concentration(_read(array, chunk), (0.5, 0.9, 1.0))
    assert (found.n, found.changed) == (array.size, int(np.count_nonzero(array)))
    if not found.changed:
        assert math.isnan(found.gini)
        assert math.isnan(found.participation)
        assert set(found.counts.values()) == {0}
        return
    squares = np.square(array)
    assert found.energy == pytest.approx(squares.sum())
    assert found.participation == pytest.approx(squares.sum() ** 2 / np.square(squares).sum() / array.size)
    assert found.gini - 1e-12 <= _gini(array) <= found.gini + found.gini_error + 1e-12
    held = np.cumsum(np.sort(squares)[::-1])
    for share, count in found.counts.items():
        # At the border itself rounding may go either way.
        borders = {int(np.searchsorted(held, share * held[-1] * (1 + slack))) + 1 for slack in (-1e-12, 1e-12)}
        assert min(borders) <= count <= min(max(borders), found.changed)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_counts_are_those_of_the_masks(dtype: torch.dtype) -> None:
    init = weights(60, 70, seed=0, dtype=dtype)
    final = moved(init, 3e-5, seed=1)
    sizes = (final.double() - init.double()).abs().numpy().ravel()
    masks = energy_masks({"": init}, {"": final}, [0.5, 0.9, 0.99])
    found = concentration(_read(sizes, 999))
    assert found.counts == {share: mask.k for share, mask in masks.items()}
    assert found.gini == pytest.approx(_gini(sizes), abs=found.gini_error + 1e-12)
    assert found.gini_error < (1e-4 if dtype == torch.bfloat16 else 2e-3)


def test_by_hand() -> None:
    found = concentration(_read(np.array([0.0, 3.0, 1.0, 1.0, 1.0])), (0.5, 0.8, 1.0))  # energies 9, 1, 1, 1
    assert found.counts == {0.5: 1, 0.8: 2, 1.0: 4}
    assert found.energy == 12
    assert found.participation == pytest.approx(144 / 84 / 5)
    assert found.gini == pytest.approx(0.4)
    assert found.gini_error == 0
    one = concentration(_read(np.array([2.0] * 4)), (0.5,))
    assert (one.participation, one.gini, one.counts) == (1, 0, {0.5: 2})


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e80, 1e-80])
def test_what_has_no_energy_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="energy"):
        concentration(_read(np.array([value, 0.0])))
    with pytest.raises(ValueError, match="shares of energy"):
        concentration(_read(np.array([1.0])), (1.5,))
