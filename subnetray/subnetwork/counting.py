"""What differs between two chunks of weights, given as the integers that hold them: the core of every comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.subnetwork.loops.kernels import Levels, Room, differences, tally

Bits = npt.NDArray[Any]

_PIECE = 1 << 18  # pairs of numbers whose distances are made at a time


@dataclass(frozen=True)
class Thresholds:
    """By what, besides bit for bit, a coordinate counts as changed; each may have several levels.

    ``absolute``: |Δ| > τ; ``ulps``: at least k (>= 1) representable values away; ``relative``: |Δ| > η times the larger
    of both magnitudes.
    """

    absolute: tuple[float, ...] = ()
    ulps: tuple[int, ...] = ()
    relative: tuple[float, ...] = ()

    def levels(self, dtype: torch.dtype) -> Levels | None:
        """What counts all of these in one pass, if there is such a thing for ``dtype``."""
        if dtype != torch.bfloat16 or self.relative or not (self.absolute or self.ulps):
            return None
        return Levels.none([round_down(tau, dtype) for tau in self.absolute], self.ulps)


@dataclass
class Counts:
    """Changed coordinates: bit for bit and by :class:`Thresholds`; chunks are added up with :meth:`add`."""

    visible: int = 0
    nonfinite: int = 0
    absolute: dict[float, int] = field(default_factory=dict)
    ulps: dict[int, int] = field(default_factory=dict)
    relative: dict[float, int] = field(default_factory=dict)

    @classmethod
    def none(cls, thresholds: Thresholds) -> Counts:
        """Nothing counted yet."""
        zeros = dict.fromkeys
        return cls(0, 0, zeros(thresholds.absolute, 0), zeros(thresholds.ulps, 0), zeros(thresholds.relative, 0))

    @classmethod
    def of(cls, thresholds: Thresholds, levels: Levels, visible: int, nonfinite: int) -> Counts:
        """From the levels of ``thresholds``."""
        absolute = dict(zip(thresholds.absolute, levels.beyond.tolist(), strict=True))
        return cls(visible, nonfinite, absolute, dict(zip(thresholds.ulps, levels.far.tolist(), strict=True)))

    def add(self, other: Counts) -> None:
        """Add the counts of another chunk, by the same thresholds."""
        self.visible += other.visible
        self.nonfinite += other.nonfinite
        for tau, count in other.absolute.items():
            self.absolute[tau] += count
        for ulps, count in other.ulps.items():
            self.ulps[ulps] += count
        for share, count in other.relative.items():
            self.relative[share] += count


@dataclass(frozen=True, eq=False)
class Chunk:
    """What two flat arrays of the bits of ``dtype`` differ in.

    ``differing`` and ``visible_bits`` have a bit a coordinate, packed as in a ``Mask``: where the stored bits differ,
    and where that is no change between +0 and -0. ``old`` and ``new`` are what is stored where they differ, in order.
    ``visible`` counts the visible ones, ``nonfinite`` the coordinates, changed or not, at which either holds NaN or an
    infinity.
    """

    dtype: torch.dtype
    differing: npt.NDArray[np.uint8]
    visible_bits: npt.NDArray[np.uint8]
    old: Bits
    new: Bits
    visible: int
    nonfinite: int

    def counts(self, thresholds: Thresholds) -> Counts:
        """All counts of this chunk."""
        counts = Counts.none(thresholds)
        # A piece at a time: what is made of it stays in the cache, and memory bounded.
        for start in range(0, self.old.size, _PIECE):
            piece = slice(start, start + _PIECE)
            counts.add(_Pairs(self.dtype, self.old[piece], self.new[piece], self.nonfinite == 0).counts(thresholds))
        counts.visible, counts.nonfinite = self.visible, self.nonfinite
        return counts


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The bits of numbers of ``dtype``, old and new, that differ; ``finite`` says that none is NaN or infinite."""

    dtype: torch.dtype
    old: Bits
    new: Bits
    finite: bool

    def counts(self, thresholds: Thresholds) -> Counts:
        """How many are beyond each threshold, and nothing else."""
        if levels := thresholds.levels(self.dtype):
            levels.add(self.old, self.new)
            return Counts.of(thresholds, levels, 0, 0)
        return Counts(
            0,
            0,
            {tau: self.beyond(tau) for tau in thresholds.absolute},
            {least: self.at_least(least) for least in thresholds.ulps},
            {share: self.relative(share) for share in thresholds.relative},
        )

    def beyond(self, tolerance: float) -> int:
        """How many visible coordinates have |Δ| > ``tolerance``, as ``exceeds`` defines it."""
        # A change of a zero's sign has Δ = 0, which is within any tolerance; NaN is within none.
        within = self._distance <= self._distance.dtype.type(round_down(tolerance, self.dtype))
        return self.old.size - int(np.count_nonzero(within))

    def at_least(self, least: int) -> int:
        """How many visible coordinates are at least ``least`` (>= 1) representable values apart (``exceeds_ulps``)."""
        far = self._steps >= min(least, int(np.iinfo(self._steps.dtype).max))
        return int(np.count_nonzero(far if self.finite else far | self._undefined))

    def relative(self, share: float) -> int:
        """How many visible coordinates have |Δ| > ``share`` of the larger magnitude (``exceeds_relative``)."""
        with np.errstate(invalid="ignore", over="ignore"):
            a, b = (wide(bits, self.dtype).astype(np.float64) for bits in (self.old, self.new))
            distance = np.abs(b - a)
            far = distance > share * np.maximum(np.abs(a), np.abs(b))
        if not self.finite or self.dtype == torch.float64:
            far |= ~np.isfinite(distance)
        return int(np.count_nonzero(far))

    @cached_property
    def _distance(self) -> npt.NDArray[np.floating[Any]]:
        with np.errstate(invalid="ignore", over="ignore"):
            distance = wide(self.new, self.dtype)
            distance = distance - wide(self.old, self.dtype)
            return np.abs(distance, out=distance)

    @cached_property
    def _steps(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        # Magnitudes count the steps from 0: between numbers of one sign there is their difference, else their sum.
        unsigned = np.dtype(f"u{self.old.itemsize}")
        magnitude = _magnitude(self.old)
        a, b = (self.old & magnitude).view(unsigned), (self.new & magnitude).view(unsigned)
        apart = np.maximum(a, b) - np.minimum(a, b)
        opposite = (self.old ^ self.new) < 0
        return np.where(opposite, a + b, apart)

    @property
    def _undefined(self) -> npt.NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            return np.isnan(wide(self.old, self.dtype)) | np.isnan(wide(self.new, self.dtype))


def scan(old: Bits, new: Bits, dtype: torch.dtype, room: Room | None = None) -> Chunk:
    """Compare two flat, contiguous arrays of the bits of ``dtype``; the chunk lies in ``room``, if it is given one."""
    return Chunk(dtype, *differences(old, new, dtype, room or Room.of(old.size, dtype)))


def count(old: Bits, new: Bits, dtype: torch.dtype) -> Counts:
    """The counts of :func:`scan` without thresholds, in a fraction of its time."""
    return Counts(*tally(old, new, dtype))


def wide(bits: Bits, dtype: torch.dtype) -> npt.NDArray[np.floating[Any]]:
    """The numbers that ``bits`` of ``dtype`` hold, exactly, in fp32 (fp64 for fp64)."""
    if dtype == torch.bfloat16:
        # numpy has no bf16: it is the upper half of fp32.
        upper = bits.astype(np.uint32)
        upper <<= 16
        return upper.view(np.float32)
    if dtype == torch.float16:
        return bits.view(np.float16).astype(np.float32)
    return bits.view(np.float64 if dtype == torch.float64 else np.float32)


def round_down(tolerance: float, dtype: torch.dtype) -> float:
    """``tolerance`` in the precision of Δ, never above it: |Δ| > τ stays exact for the τ given."""
    if dtype == torch.float64:
        return tolerance
    rounded = np.float32(tolerance)
    return float(rounded if float(rounded) <= tolerance else np.nextafter(rounded, np.float32(-math.inf)))


def _magnitude(bits: Bits) -> int:
    return int(np.iinfo(bits.dtype).max)
