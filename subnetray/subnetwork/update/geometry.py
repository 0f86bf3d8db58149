"""Where in a matrix an update lies, and what it does to the spectrum: the geometry of one matrix's update.

Definitions of arXiv 2511.08567 (The Path Not Taken): masks of principal and of small weights, spectral shift, rotation
of the leading subspaces. As with overlap (see ``nulls``), what bf16 makes visible depends on |w|, and |w| differs by
row, by column and between principal and other weights. Profiles and enrichments are therefore given against two
expectations: of the mask's bits put anywhere in the matrix, and of its bits put anywhere within their ULP stratum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork.bits import flat_integers
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.overlap.nulls import pair_counts
from subnetray.subnetwork.overlap.strata import strata_of, ulp_ids
from subnetray.subnetwork.overlap.table import OverlapCounts
from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.selection import kth_smallest
from subnetray.subnetwork.update.spectrum import Spectrum, decompose, principal_angles, squared_norm
from subnetray.subnetwork.visible import changed, require_same_layout

# Shares of a matrix that count as principal or as small: LIFT's, and half of it.
SHARES = (0.05, 0.5)
_CHUNK = 1 << 20  # entries at a time

Reals = npt.NDArray[np.float64]
Ids = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, eq=False)
class Profile:
    """How many bits of a mask each line (row or column) of a matrix holds: ``counts``, of ``length`` coordinates each.

    ``expected`` and ``variance`` (of the line's count) are those of the bits put independently of the lines: uniformly
    within each stratum, as many in each as there are. Both are exact: counts are hypergeometric, stratum by stratum.
    """

    counts: npt.NDArray[np.int64]
    length: int
    expected: Reals
    variance: Reals

    @property
    def densities(self) -> Reals:
        """Share of each line's coordinates in the mask."""
        densities: Reals = self.counts / self.length
        return densities

    @property
    def cv(self) -> float:
        """Coefficient of variation of the counts: standard deviation over mean; NaN of an empty mask."""
        mean = float(self.counts.mean()) if self.counts.size else 0.0
        return float(self.counts.std()) / mean if mean else math.nan

    @property
    def dispersion(self) -> float:
        """Σ(count − expected)² over its expectation: 1 for bits put independently of the lines; NaN where that is 0.

        Its standard deviation is about √(2/lines) then. Stripes make it large.
        """
        variance = float(self.variance.sum())
        return float(np.square(self.counts - self.expected).sum()) / variance if variance > 0 else math.nan


@dataclass(frozen=True)
class Enrichment:
    """How often a mask's bits fall into a target set of coordinates.

    ``counts``: n, k1 of the mask, k2 of the target, k12 of both. ``expected``: k12 if the mask's bits were anywhere
    in their stratum; ``enrichment``: k12/expected; ``odds_ratio``: Mantel–Haenszel, over strata. Either is NaN where
    it is 0/0, the odds ratio inf where only its divisor is 0.
    """

    counts: OverlapCounts
    expected: float
    enrichment: float
    odds_ratio: float


@dataclass(frozen=True)
class SpectralDrift:
    """What an update did to a matrix's spectrum, and to the subspaces of its ``k`` leading singular directions.

    ================== ========================================== ===================================================
    nss                ‖σ(final) − σ(init)‖/‖σ(init)‖              normalised spectral shift (arXiv 2511.08567)
    nss_leading        the same of the k leading σ
    relative_norm      ‖Δ‖F/‖init‖F                               the most that ``nss`` can be (Mirsky 1960)
    left, right        largest principal angle, in radians        between the leading subspaces of init and final
    left_rms, …        root mean square of the k angles
    angle_error        bound on the error of an angle             0 if both spectra are exact
    ================== ========================================== ===================================================

    ``nss`` is None unless both spectra are exact. nss/relative_norm is the share of the update's length that changed
    singular values; the rest turned singular vectors. What has no leading directions has NaN for angles.
    """

    k: int
    exact: bool
    nss: float | None
    nss_leading: float
    relative_norm: float
    left: float
    right: float
    left_rms: float
    right_rms: float
    angle_error: float


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of one matrix's update; ``…_within_ulp`` expects bits anywhere in their ULP stratum.

    Enrichments are keyed by the share of the matrix that the target was asked to hold. That of small weights has no
    second null: within an exponent all weights are small, or none.
    """

    rows: Profile
    rows_within_ulp: Profile
    columns: Profile
    columns_within_ulp: Profile
    principal: dict[float, Enrichment]
    principal_within_ulp: dict[float, Enrichment]
    small: dict[float, Enrichment]
    drift: SpectralDrift


def matrix_geometry(init: Tensor, final: Tensor, k: int | None = None, shares: tuple[float, ...] = SHARES) -> Geometry:
    """Geometry of what changed bit for bit from one matrix to another of the same shape and dtype.

    ``k`` leading directions: an eighth of the shorter side unless given, 128 (LIFT's rank) at most. Memory beside the
    two: 11 bytes a coordinate, and that of :func:`subnetray.subnetwork.update.spectrum.decompose`. Raises
    ``MismatchError`` for other layouts, ``ValueError`` for entries that are not finite.
    """
    require_same_layout({"": init}, {"": final})
    init, final = init.detach().cpu(), final.detach().cpu()
    k = max(1, min(128, min(init.shape) // 8)) if k is None else k
    before = decompose(init, k)
    drift = spectral_drift(before, decompose(final, k), math.sqrt(squared_norm(final, less=init)))
    mask = changed(init, final)
    ids = ulp_ids(init)
    principal, principal_within_ulp, small = {}, {}, {}
    for share in shares:
        target = principal_weights(before, share)
        principal[share] = enrichment(mask, target)
        principal_within_ulp[share] = enrichment(mask, target, ids)
        small[share] = enrichment(mask, small_weights(init, share))
    return Geometry(
        rows=profile(mask, 0),
        rows_within_ulp=profile(mask, 0, ids),
        columns=profile(mask, 1),
        columns_within_ulp=profile(mask, 1, ids),
        principal=principal,
        principal_within_ulp=principal_within_ulp,
        small=small,
        drift=drift,
    )


def profile(mask: Tensor, axis: int, strata: Ids | None = None) -> Profile:
    """Profile of a boolean matrix over its rows (``axis`` 0) or its columns (1).

    ``strata`` (flat, C order, as :func:`ulp_ids` numbers them) is what lines are expected by; None: one stratum.
    """
    rows, columns = mask.shape
    lines, length = (rows, columns) if axis == 0 else (columns, rows)
    flat = mask.reshape(-1).numpy()
    many = int(strata.max(initial=0)) + 1 if strata is not None else 1
    sizes, hits = np.zeros(lines * many, np.int64), np.zeros(lines * many, np.int64)
    height = max(1, _CHUNK // max(1, columns))
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        part = slice(start * columns, stop * columns)
        row = np.repeat(np.arange(start, stop), columns) if axis == 0 else np.tile(np.arange(columns), stop - start)
        cell = row * many + (0 if strata is None else strata[part])
        first = start * many if axis == 0 else 0  # the chunk's own lines only: others have nothing in it
        last = stop * many if axis == 0 else lines * many
        sizes[first:last] += np.bincount(cell - first, minlength=last - first)
        hits[first:last] += np.bincount(cell[flat[part]] - first, minlength=last - first)
    n_bl, k_bl = sizes.reshape(lines, many).astype(np.float64), hits.reshape(lines, many)
    n_b, k_b = n_bl.sum(axis=0), k_bl.sum(axis=0).astype(np.float64)
    share = n_bl / np.maximum(n_b, 1)
    spread = k_b * (n_b - k_b) / np.maximum(n_b - 1, 1)
    return Profile(k_bl.sum(axis=1), length, share @ k_b, (share * (1 - share)) @ spread)


def profile_correlation(a: Profile, b: Profile) -> float:
    """Correlation over lines of two runs' counts, each less what its null expects; NaN where one has no variation.

    0 for runs without shared rows (or columns). With ULP strata what both share because of |w_init| is taken out.
    """
    one, two = a.counts - a.expected, b.counts - b.expected
    one, two = one - one.mean(), two - two.mean()
    norm = math.sqrt(float(one @ one) * float(two @ two))
    # What rounding of the expectation leaves of equal counts is no variation.
    return float(one @ two) / norm if norm > 1e-9 * one.size else math.nan


def enrichment(mask: Tensor, target: Tensor, strata: Ids | None = None) -> Enrichment:
    """Enrichment of a boolean matrix in another; ``strata`` as in :func:`profile`."""
    ids = np.zeros(mask.numel(), np.uint8) if strata is None else strata
    order = strata_of({"": ids}, {"": tuple(mask.shape)})
    one, two = (order.arrange(Mask.from_bools({"": bools})) for bools in (mask, target))
    found = pair_counts([one], [two])
    counts = OverlapCounts(found.n, int(found.k1[0]), int(found.k2[0]), int(found.k12[0, 0]))
    null = found.stratified
    expected = float(null.expected[0, 0])
    return Enrichment(counts, expected, counts.k12 / expected if expected else math.nan, float(null.odds_ratio[0, 0]))


def small_weights(matrix: Tensor, share: float) -> Tensor:
    """Boolean matrix: the coordinates of smallest |w|, at least ``share`` of them; of equal |w| all or none.

    Few |w| occur in bf16 and many coordinates have each: which of equals came first would put stripes into the mask.
    """
    sizes = _magnitudes(matrix)
    return torch.from_numpy(sizes <= _kth_smallest(sizes, math.ceil(share * sizes.size))).reshape(matrix.shape)


def principal_weights(of: Spectrum, share: float) -> Tensor:
    """Boolean matrix: where the part of a matrix in its k leading directions is largest, in at least ``share`` of it.

    Principal weights of arXiv 2511.08567, from LIFT (2506.00772): the largest |Σ_{i≤k} σi·ui·viᵀ|, here in fp32. Takes
    4 bytes a coordinate.
    """
    rows, columns = of.shape
    part = torch.empty(rows, columns, dtype=torch.float32)
    scaled = of.left * torch.from_numpy(of.values[: of.k])
    height = max(1, _CHUNK // max(1, columns))
    for start in range(0, rows, height):
        part[start : start + height] = scaled[start : start + height] @ of.right.T
    sizes = flat_integers(part.abs_())
    # The share of largest are those from the (n − share·n + 1)-th smallest on.
    least = _kth_smallest(sizes, sizes.size - math.ceil(share * sizes.size) + 1)
    return torch.from_numpy(sizes >= least).reshape(rows, columns)


def spectral_drift(init: Spectrum, final: Spectrum, update_norm: float) -> SpectralDrift:
    """Drift from one spectrum to another; ``update_norm`` is ‖Δ‖F."""
    exact = init.exact and final.exact
    k = min(init.k, final.k)
    size, change = float(np.linalg.norm(init.values)), float("nan")
    if exact:
        change = float(np.linalg.norm(final.values - init.values))
    leading = float(np.linalg.norm(init.values[:k]))
    left, right = (
        principal_angles(one[:, :k], two[:, :k]) for one, two in ((init.left, final.left), (init.right, final.right))
    )
    return SpectralDrift(
        k=k,
        exact=exact,
        nss=ratio(change, size) if exact else None,
        nss_leading=ratio(float(np.linalg.norm(final.values[:k] - init.values[:k])), leading),
        relative_norm=ratio(update_norm, math.sqrt(init.energy)),
        left=float(left[-1]) if k else math.nan,
        right=float(right[-1]) if k else math.nan,
        left_rms=_rms(left),
        right_rms=_rms(right),
        angle_error=init.subspace_error + final.subspace_error,
    )


def _magnitudes(matrix: Tensor) -> npt.NDArray[Any]:
    """|w| as integers of the same order, flat."""
    bits = flat_integers(matrix)
    return bits & np.iinfo(bits.dtype).max


def _kth_smallest(codes: npt.NDArray[Any], k: int) -> int:
    parts = [codes[start : start + _CHUNK] for start in range(0, codes.size, _CHUNK)]
    return kth_smallest(lambda: parts, 8 * codes.itemsize, k)


def _rms(angles: Reals) -> float:
    return float(np.sqrt(np.square(angles).mean())) if angles.size else math.nan
