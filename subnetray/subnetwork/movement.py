"""What one step of a run did to the exported values of a tensor, beside its init and its values before the step.

On the CPU compiled loops look at them, elsewhere PyTorch where they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork.bits import flat_integers
from subnetray.subnetwork.compiled import compiled
from subnetray.subnetwork.visible import changed

_Floats = npt.NDArray[np.float64]

_CHUNK = 1 << 22  # coordinates at a time on a device: its temporaries take up to 8 bytes each
_CHAINS = 16
# By how much to shift the bits of an exported number to get those of the same number in fp32.
_SHIFTS = {torch.bfloat16: 16, torch.float32: 0}
DTYPES = tuple(_SHIFTS)


def movement(
    init: Tensor, previous: Tensor, current: Tensor
) -> tuple[npt.NDArray[np.uint8], int, float, float, float, float]:
    """Bits of what differs from the init (as in a ``Mask``), how many coordinates moved, Σ|Δ|, Σ|δ|, ΣΔ², Σδ²."""
    if init.device.type != "cpu":
        return movement_on_device(init, previous, current)
    seen = np.empty((init.numel() + 7) // 8, np.uint8)
    a, b, c = (flat_integers(tensor) for tensor in (init, previous, current))
    return seen, *_compare_bits(a, b, c, _SHIFTS[init.dtype], seen)


@compiled
def _compare_bits(
    init: npt.NDArray[Any],
    previous: npt.NDArray[Any],
    current: npt.NDArray[Any],
    shift: int,
    seen: npt.NDArray[np.uint8],
) -> tuple[int, float, float, float, float]:
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
    moved = np.zeros(_CHAINS, np.int64)
    sums = np.zeros((4, _CHAINS))
    whole = init.size - init.size % _CHAINS
    for start in range(0, whole, _CHAINS):
        for chain in range(_CHAINS):  # a constant, or no compiler makes vectors of it
            i = start + chain
            _add(init[i], previous[i], current[i], shift, magnitude, moved, sums, chain)
    for i in range(whole, init.size):
        _add(init[i], previous[i], current[i], shift, magnitude, moved, sums, i - whole)
    return moved.sum(), sums[0].sum(), sums[1].sum(), sums[2].sum(), sums[3].sum()


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
    moved: npt.NDArray[np.int64],
    sums: _Floats,
    chain: int,
) -> None:
    moved[chain] += _differ(b, c, magnitude)
    value = np.float64(np.int32(np.int32(c) << shift).view(np.float32))
    delta = value - np.float64(np.int32(np.int32(a) << shift).view(np.float32))
    step = value - np.float64(np.int32(np.int32(b) << shift).view(np.float32))
    sums[0, chain] += abs(delta)
    sums[1, chain] += abs(step)
    sums[2, chain] += delta * delta
    sums[3, chain] += step * step


def movement_on_device(
    init: Tensor, previous: Tensor, current: Tensor
) -> tuple[npt.NDArray[np.uint8], int, float, float, float, float]:
    """The same where the weights are: only bits and sums leave the device."""
    powers = (1 << torch.arange(8, device=init.device)).to(torch.uint8)
    bits, sums = [], torch.zeros(5, dtype=torch.float64, device=init.device)
    flat = [tensor.reshape(-1) for tensor in (init, previous, current)]
    for start in range(0, init.numel(), _CHUNK):
        a, b, c = (tensor[start : start + _CHUNK] for tensor in flat)
        marks = torch.nn.functional.pad(changed(a, c).to(torch.uint8), (0, -c.numel() % 8)).reshape(-1, 8)
        bits.append((marks * powers).sum(dim=1, dtype=torch.uint8))
        value = c.double()
        delta, step = value - a, value - b
        sums += torch.stack(
            [changed(b, c).sum(), delta.abs().sum(), step.abs().sum(), delta.square().sum(), step.square().sum()]
        )
    seen = torch.cat(bits).cpu().numpy() if bits else np.empty(0, np.uint8)
    moved, *rest = sums.tolist()
    return seen, int(moved), *rest
