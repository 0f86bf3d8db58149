"""The joint null: a reference in float64, its own identities, and runs whose probabilities are known."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import (
    Joint,
    Mask,
    MismatchError,
    Strata,
    joint,
    joint_overlap,
    pair_counts,
    sample,
    strata_of,
    tensor_strata,
)
from subnetray.subnetwork.loops.visibility import probabilities_at
from subnetray.subnetwork.overlap import joint as module
from tests.subnetwork.overlap.worlds import LAWS, World, world

Reals = npt.NDArray[np.float64]


def _joint(mask: Mask, strata: Strata, size: int = 1 << 22) -> Joint:
    return joint(mask, strata, sample(mask.shapes, size, seed=0, by_tensor=False))


def _probabilities(mask: Mask, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    factors, place = module.fit(mask.bits["w"], ids, mask.shapes["w"])
    p = np.empty(ids.size, np.float32)
    probabilities_at(place, np.arange(ids.size), factors, p)
    return p.reshape(mask.shapes["w"])


def _expected(one: Mask, two: Mask, strata: Strata) -> float:
    return joint_overlap(_joint(one, strata), _joint(two, strata)).k12


def _masks(density: float, shape: tuple[int, ...], generator: torch.Generator) -> Mask:
    logits = math.log(density / (1 - density)) + torch.randn(shape[0], 1, generator=generator)
    logits = logits + torch.randn(shape[1:], generator=generator)
    return Mask.from_bools({"w": torch.rand(shape, generator=generator) < torch.sigmoid(logits)})


def _reference(x: Reals, place: npt.NDArray[np.int64]) -> Reals:
    """P from Newton's method for all factors at once, in float64: rows, columns and places have the sums of ``x``."""
    rows, columns = (axis.ravel() for axis in np.indices(x.shape))
    design = np.concatenate(
        [np.eye(size)[at] for size, at in zip((*x.shape, place.max() + 1), (rows, columns, place), strict=True)], 1
    )
    factors = np.zeros(design.shape[1])
    for _ in range(200):
        t = np.exp(design @ factors)
        p = (1 + t / 4) ** -4
        slope = t * p / (1 + t / 4)
        off = design.T @ (p - x.ravel())
        factors += np.clip(np.linalg.pinv(design.T @ (slope[:, None] * design)) @ off, -1, 1)
        if np.abs(off).max() < 1e-9:
            break
    assert np.abs(off).max() < 1e-6
    return p.reshape(x.shape)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
def test_probabilities_are_those_of_a_fit_in_float64(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRECISION", 1e-6)
    monkeypatch.setattr(module, "_STEPS", 200)
    monkeypatch.setattr(module, "_STEPS_WITH_BINS", 500)
    # Without bins, which few coordinates would leave empty.
    monkeypatch.setattr(module, "_with_bins", lambda factors: factors)
    generator = torch.Generator().manual_seed(1)
    mask = _masks(density, (24, 18), generator)
    ids = torch.randint(0, 3, (24 * 18,), generator=generator).numpy().astype(np.uint8)
    found = _probabilities(mask, ids)
    x = mask.bools()["w"].double().numpy()
    assert found == pytest.approx(_reference(x, ids.astype(np.int64)), abs=2e-4)


def test_half_of_two_rows_is_shared_by_a_quarter() -> None:
    bools = torch.zeros(4, 4, dtype=torch.bool)
    bools[0, :2] = bools[1, 2:] = True  # each column has one, and by symmetry P is 1/2 in both rows
    mask = Mask.from_bools({"w": bools})
    assert _expected(mask, mask, tensor_strata(mask)) == pytest.approx(8 / 4, abs=0.01)


def test_vectors_have_the_density_of_their_strata() -> None:
    one, two = (Mask.from_bools({"w": torch.tensor(bits) > 0}) for bits in ([1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0]))
    strata = strata_of({"w": np.array([0, 0, 0, 0, 1, 1], np.uint8)}, one.shapes)
    assert _expected(one, two, strata) == pytest.approx(2 * 2 / 4 + 1 * 1 / 2, rel=1e-4)


@given(seed=st.integers(0, 10**6), density=st.floats(0.05, 0.95))
@settings(max_examples=10, deadline=None)
def test_rows_columns_and_strata_have_their_sums_in_expectation(seed: int, density: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = _masks(density, (40, 30), generator)
    ids = torch.randint(0, 3, (1200,), generator=generator).numpy().astype(np.uint8)
    p = _probabilities(mask, ids).astype(float).ravel()
    x = mask.flat("w").astype(float)
    assert p.min() >= 0
    assert p.max() <= 1
    off = [np.abs((p - x).reshape(40, 30).sum(axis)).sum() for axis in (0, 1)]
    off.append(np.abs(np.bincount(ids, p - x)).sum())
    assert max(off) < 0.01 * x.sum() + 1


@given(seed=st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_transposed_and_permuted_matrices_give_the_same(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    one, two = (_masks(0.3, (60, 40), generator) for _ in range(2))
    ids = torch.randint(0, 4, (60, 40), generator=generator)
    order = torch.randperm(60, generator=generator)

    def expected(change: object) -> float:
        changed = [Mask.from_bools({"w": change(mask.bools()["w"]).contiguous()}) for mask in (one, two)]  # type: ignore[operator]
        flat = change(ids).contiguous().reshape(-1).numpy().astype(np.uint8)  # type: ignore[operator]
        return _expected(changed[0], changed[1], strata_of({"w": flat}, changed[0].shapes))

    straight = expected(lambda tensor: tensor)
    assert expected(lambda tensor: tensor[order]) == pytest.approx(straight, rel=1e-3)
    assert expected(lambda tensor: tensor.T) == pytest.approx(straight, rel=5e-3)


def test_every_matrix_of_a_tensor_has_rows_and_columns_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.rand(3, 30, 20, generator=generator) < torch.rand(3, 30, 1) for _ in range(2))
    together = [Mask.from_bools({"w": bits}) for bits in (one, two)]
    apart = [Mask.from_bools({str(i): part for i, part in enumerate(bits)}) for bits in (one, two)]
    whole = _expected(together[0], together[1], tensor_strata(together[0]))
    # What is common to a tensor's matrices, the share of the stratum, rows take up.
    assert whole == pytest.approx(_expected(apart[0], apart[1], tensor_strata(apart[0])), rel=0.02)


@pytest.mark.parametrize("shape", [(), (0, 4), (1, 6), (6, 1), (2, 2), (5,), (2, 0, 3), (4, 3)])
@pytest.mark.parametrize("kind", ["empty", "full", "mixed"])
def test_odd_shapes_and_masks_without_a_choice(shape: tuple[int, ...], kind: str) -> None:
    n = math.prod(shape)
    bools = {"empty": torch.zeros(shape), "full": torch.ones(shape), "mixed": torch.arange(n).reshape(shape) % 2}
    mask = Mask.from_bools({"w": bools[kind] > 0})
    found = joint_overlap(*[_joint(mask, tensor_strata(mask))] * 2)
    assert 0 <= found.k12 <= mask.k + 0.05
    if kind != "mixed":
        assert found.k12 == pytest.approx(mask.k, abs=1e-3)
        assert found.variance == pytest.approx(0, abs=1e-3)


def _left(world: World, masks: Iterable[Mask]) -> tuple[float, float]:
    """Return what the ULP null and the joint null leave of the overlap that runs have by chance, in points of o1."""
    masks = list(masks)
    nulls, arranged = [_joint(mask, world.strata) for mask in masks], [world.strata.arrange(mask) for mask in masks]
    pairs = [(i, j) for i in range(len(masks)) for j in range(i)]
    by_strata = pair_counts(arranged, list(arranged)).stratified.expected
    ulp = float(np.mean([by_strata[i, j] for i, j in pairs]))
    both = float(np.mean([joint_overlap(nulls[i], nulls[j]).k12 for i, j in pairs]))
    return 100 * (world.shared - ulp) / world.changed, 100 * (world.shared - both) / world.changed


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("density", [0.02, 0.3, 0.9])
def test_noise_is_explained_whatever_the_format_of_the_init(stored: torch.dtype, density: float) -> None:
    made = world((300, 200), 0.0, density, stored=stored)
    _, left = _left(made, [made.mask() for _ in range(3)])
    assert abs(left) < max(0.4, 100 / math.sqrt(made.changed))


@pytest.mark.parametrize(
    ("scales", "density", "law"),
    [
        *((0.3, density, law) for density in (0.08, 0.5) for law in LAWS),
        *((scales, 0.3, "normal") for scales in (0.1, 1.0)),
        *((0.3, density, "normal") for density in (0.01, 0.9)),
    ],
)
def test_scales_of_rows_and_columns_that_runs_share_are_explained(scales: float, density: float, law: str) -> None:
    made = world((300, 200), scales, density, law)
    ulp, left = _left(made, [made.mask() for _ in range(3)])
    assert abs(left) < max(0.5, 120 / math.sqrt(made.changed))
    if scales >= 0.3 and density < 0.9:
        assert ulp > 2.5
        assert abs(left) < 0.25 * ulp + 0.2


@pytest.mark.parametrize("density", [0.05, 0.4, 0.85])
def test_planted_coordinates_are_left_and_the_more_of_them_the_more(density: float) -> None:
    made = world((300, 200), 0.3, density)
    found = []
    for share in (0.0, 0.1, 0.3):
        # Where both runs took the same draw.
        same, draws = torch.rand(made.p.shape) < share, [torch.rand(made.p.shape) for _ in range(3)]
        one, two = (torch.where(same, draws[2], draw) < made.p for draw in draws[:2])
        a, b = (Mask.from_bools({"w": bits}) for bits in (one, two))
        k12 = (a & b).k
        expectation = joint_overlap(_joint(a, made.strata), _joint(b, made.strata))
        found.append((k12 - expectation.k12) / math.sqrt(expectation.variance))
        assert (expectation.odds_ratio(k12) > 1) == (k12 > expectation.k12)
    assert abs(found[0]) < 4
    assert found[1] > 5
    assert found[2] > 2 * found[1]


def test_drawn_coordinates_stand_for_all() -> None:
    made = world((300, 200), 0.3, 0.4)
    one, two = made.mask(), made.mask()
    whole = joint_overlap(_joint(one, made.strata), _joint(two, made.strata))
    part = joint_overlap(_joint(one, made.strata, 10000), _joint(two, made.strata, 10000))
    assert part.k12 == pytest.approx(whole.k12, rel=0.05)
    assert part.variance == pytest.approx(whole.variance, rel=0.05)
    with pytest.raises(MismatchError, match="one sample"):
        joint_overlap(_joint(one, made.strata), _joint(two, made.strata, 10000))
    with pytest.raises(MismatchError, match="by_tensor=False"):
        joint(one, made.strata, sample(one.shapes, 10000, seed=0))


def test_peto_s_odds_ratio_is_near_the_true_one_and_one_without_excess() -> None:
    generator = torch.Generator().manual_seed(0)
    p, psi = 0.3, 2.0
    # A table with margins p and odds ratio psi (Plackett's).
    s = 1 + 2 * p * (psi - 1)
    both = (s - math.sqrt(s * s - 4 * psi * (psi - 1) * p * p)) / (2 * (psi - 1))
    one, other = torch.rand(400, 300, generator=generator) < p, torch.rand(400, 300, generator=generator)
    two: Tensor = other < torch.where(one, both / p, (p - both) / (1 - p))
    a, b = (Mask.from_bools({"w": bits}) for bits in (one, two))
    found = joint_overlap(*(_joint(mask, tensor_strata(mask)) for mask in (a, b)))
    assert found.odds_ratio((a & b).k) == pytest.approx(2.0, rel=0.1)
    assert found.odds_ratio(0) < 1
    assert math.isnan(module.JointExpectation(1.0, 0.0).odds_ratio(1))
    assert module.JointExpectation(1.0, 1e-9).odds_ratio(2) == math.inf
