"""What one step of a run does to the exported values of a tensor, beside its init and its values before the step.

On the CPU compiled loops look at them, elsewhere PyTorch where they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork.bits import flat_integers, from_integers, integer_type
from subnetray.subnetwork.loops.compiled import compiled
from subnetray.subnetwork.visible import changed

Bits = npt.NDArray[np.uint8]  # packed, as in a ``Mask``

_CHUNK = 1 << 22  # coordinates at a time on a device: its temporaries take up to 8 bytes each
_CHAINS = 16
# By how much to shift the bits of an exported number to get those of the same number in fp32.
_SHIFTS = {torch.bfloat16: 16, torch.float32: 0}


class Moves(NamedTuple):
    """Of a step: how many coordinates differ from the init and how many moved, and Σ|Δ|, Σ|δ|, ΣΔ², Σδ² in fp64."""

    effective: int
    moved: int
    net: float
    path: float
    square: float
    step_square: float

    @classmethod
    def total(cls, parts: Iterable[Moves]) -> Moves:
        """Of all tensors together."""
        effective, moved, *sums = zip(cls(0, 0, 0.0, 0.0, 0.0, 0.0), *parts, strict=True)
        return cls(sum(effective), sum(moved), *map(math.fsum, sums))


class Follower(Protocol):
    """Keeps the values of a tensor before a step, and of which coordinates they have differed from the init."""

    def advance(self, held: Tensor) -> Moves:
        """Take in the values after a step, of any dtype."""

    def previous(self) -> Tensor:
        """The values taken in last, as exported, flat."""

    def go_back(self, previous: Tensor) -> None:
        """Take ``previous`` for the values taken in last, as exported."""


def followers(init: list[Tensor], seen: list[Bits], ever: list[Bits]) -> list[Follower]:
    """One for each tensor; a step writes which coordinates differ to ``seen``, and adds them to ``ever``.

    Raises ``TypeError`` for an export in neither bf16 nor fp32.
    """
    for tensor in init:
        if tensor.dtype not in _SHIFTS:
            raise TypeError(f"dynamics are followed in bfloat16 or float32, not in {tensor.dtype}")
    # Values as exported are needed for as long as they are looked at: the same memory, in the cache, for all tensors.
    largest = max((tensor.nbytes for tensor in init if tensor.device.type == "cpu"), default=0)
    room = np.empty(largest, np.uint8)
    return [
        OnHost(tensor, room, *bits) if tensor.device.type == "cpu" else OnDevice(tensor, *bits)
        for tensor, *bits in zip(init, seen, ever, strict=True)
    ]


class OnHost:
    """A :class:`Follower` in the memory of the host; ``room``: as many bytes as the tensor has, or more."""

    def __init__(self, init: Tensor, room: Bits, seen: Bits, ever: Bits) -> None:
        self._seen, self._ever, self._shift = seen, ever, _SHIFTS[init.dtype]
        self._init = flat_integers(init)
        self._previous = self._init.copy()
        self._current = room[: self._init.nbytes].view(integer_type(init.dtype))
        self._exported = from_integers(self._current, init.dtype).view(init.shape)

    def advance(self, held: Tensor) -> Moves:
        self._exported.copy_(held)
        return Moves(*_compare_bits(self._init, self._previous, self._current, self._shift, self._seen, self._ever))

    def previous(self) -> Tensor:
        return from_integers(self._previous, self._exported.dtype)

    def go_back(self, previous: Tensor) -> None:
        self._previous[:] = flat_integers(previous)


class OnDevice:
    """A :class:`Follower` where the weights are: only bits and sums leave the device."""

    def __init__(self, init: Tensor, seen: Bits, ever: Bits) -> None:
        self._seen, self._ever = seen, ever
        self._init = self._previous = init.reshape(-1)

    def advance(self, held: Tensor) -> Moves:
        # Always a copy, which the next step of the optimizer leaves alone.
        current = held.detach().to(dtype=self._init.dtype, copy=True).reshape(-1)
        powers = (1 << torch.arange(8, device=current.device)).to(torch.uint8)
        bits, sums = [], torch.zeros(6, dtype=torch.float64, device=current.device)
        for start in range(0, current.numel(), _CHUNK):
            a, b, c = (tensor[start : start + _CHUNK] for tensor in (self._init, self._previous, current))
            differing = changed(a, c)
            marks = torch.nn.functional.pad(differing.to(torch.uint8), (0, -c.numel() % 8)).reshape(-1, 8)
            bits.append((marks * powers).sum(dim=1, dtype=torch.uint8))
            value = c.double()
            delta, step = value - a, value - b
            found = (differing, changed(b, c), delta.abs(), step.abs(), delta.square(), step.square())
            sums += torch.stack([each.sum() for each in found])
        self._previous = current
        self._seen[:] = torch.cat(bits).cpu().numpy() if bits else 0
        self._ever |= self._seen
        effective, moved, *rest = sums.tolist()
        return Moves(int(effective), int(moved), *rest)

    def previous(self) -> Tensor:
        return self._previous

    def go_back(self, previous: Tensor) -> None:
        self._previous = previous.to(self._init, copy=True).reshape(-1)


@compiled
def _compare_bits(
    init: npt.NDArray[Any],
    previous: npt.NDArray[Any],
    current: npt.NDArray[Any],
    shift: int,
    seen: Bits,
    ever: Bits,
) -> tuple[int, int, float, float, float, float]:
    """The values of :class:`Moves`; ``previous`` becomes ``current``."""
    # Two passes, where numpy needs some fifteen. Sums are made in fp64, each by as many chains of additions as the
    # widest registers take, in an order that does not depend on them.
    magnitude = np.iinfo(init.dtype).max
    for byte in range(init.size // 8):
        marks = 0
        for bit in range(8):
            marks |= _differ(init[8 * byte + bit], current[8 * byte + bit], magnitude) << bit
        seen[byte] = marks
    if init.size % 8:
        seen[-1] = 0
        for i in range(init.size - init.size % 8, init.size):
            seen[-1] |= _differ(init[i], current[i], magnitude) << i % 8
    ever |= seen
    counts = np.zeros((2, _CHAINS), np.int64)
    sums = np.zeros((4, _CHAINS))
    whole = init.size - init.size % _CHAINS
    for start in range(0, whole, _CHAINS):
        for chain in range(_CHAINS):  # a constant, or no compiler makes vectors of it
            i = start + chain
            _add(init[i], previous[i], current[i], shift, magnitude, counts, sums, chain)
            previous[i] = current[i]
    for i in range(whole, init.size):
        _add(init[i], previous[i], current[i], shift, magnitude, counts, sums, i - whole)
        previous[i] = current[i]
    return counts[0].sum(), counts[1].sum(), sums[0].sum(), sums[1].sum(), sums[2].sum(), sums[3].sum()


@compiled
def _differ(a: Any, b: Any, magnitude: int) -> Any:
    # As `visible.changed`: ±0 are equal.
    return (a != b) & (((a | b) & magnitude) != 0)


@compiled
def _add(
    a: Any,
    b: Any,
    c: Any,
    shift: int,
    magnitude: int,
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.float64],
    chain: int,
) -> None:
    counts[0, chain] += _differ(a, c, magnitude)
    counts[1, chain] += _differ(b, c, magnitude)
    value = np.float64(np.int32(np.int32(c) << shift).view(np.float32))
    delta = value - np.float64(np.int32(np.int32(a) << shift).view(np.float32))
    step = value - np.float64(np.int32(np.int32(b) << shift).view(np.float32))
    sums[0, chain] += abs(delta)
    sums[1, chain] += abs(step)
    sums[2, chain] += delta * delta
    sums[3, chain] += step * step
