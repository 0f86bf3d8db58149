"""Which coordinates of an update are visible, and how many: bit for bit, and beyond absolute tolerances.

Definitions: the paper (arXiv 2505.11711) calls two bf16 values equal when |Δ| ≤ 1e-5; bitwise comparison has no such
constant and is primary here, with +0 and -0 taken as equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork.bits import flat_integers, float_format, integers
from subnetray.subnetwork.weights import Weights, layer_index, module_kind

# Coordinates compared at a time: the temporaries of a chunk stay in the cache, and memory stays bounded.
_CHUNK = 1 << 18

_Key = TypeVar("_Key", bound=Hashable)


class MismatchError(ValueError):
    """Two sets of weights or masks that cannot be compared: names, shapes or dtypes differ."""


@dataclass(frozen=True)
class TensorComparison:
    """What changed in one tensor; ``changed_abs`` maps each tolerance τ to the number of coordinates with |Δ| > τ."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    n: int
    changed_bitwise: int
    changed_abs: dict[float, int]
    nonfinite: int
    layer: int | None
    module: str


@dataclass(frozen=True)
class Comparison:
    """What changed between an init and a final, over all coordinates of ``tensors`` (each counts once).

    ``nonfinite`` counts the coordinates at which the init or the final is NaN or infinite: a finding to report.
    """

    tensors: tuple[TensorComparison, ...]
    tolerances: tuple[float, ...]

    @property
    def n(self) -> int:
        return sum(tensor.n for tensor in self.tensors)

    @property
    def changed_bitwise(self) -> int:
        return sum(tensor.changed_bitwise for tensor in self.tensors)

    @property
    def changed_abs(self) -> dict[float, int]:
        return {tau: sum(tensor.changed_abs[tau] for tensor in self.tensors) for tau in self.tolerances}

    @property
    def nonfinite(self) -> int:
        return sum(tensor.nonfinite for tensor in self.tensors)

    @property
    def density_bitwise(self) -> float:
        """Changed / n; NaN without coordinates."""
        return _ratio(self.changed_bitwise, self.n)

    @property
    def sparsity_bitwise(self) -> float:
        """Unchanged / n; NaN without coordinates."""
        return _ratio(self.n - self.changed_bitwise, self.n)

    @property
    def density_abs(self) -> dict[float, float]:
        """Density by tolerance."""
        return {tau: _ratio(count, self.n) for tau, count in self.changed_abs.items()}

    def by_module(self) -> dict[str, Comparison]:
        """The same comparison for each kind of module (see :func:`module_kind`), in order of appearance."""
        return self._by(lambda tensor: tensor.module)

    def by_layer(self) -> dict[int | None, Comparison]:
        """The same comparison for each decoder layer; None holds what lies outside of the layers."""
        return self._by(lambda tensor: tensor.layer)

    def _by(self, key: Callable[[TensorComparison], _Key]) -> dict[_Key, Comparison]:
        groups: dict[_Key, list[TensorComparison]] = {}
        for tensor in self.tensors:
            groups.setdefault(key(tensor), []).append(tensor)
        return {value: Comparison(tuple(tensors), self.tolerances) for value, tensors in groups.items()}


def changed(init: Tensor, final: Tensor) -> Tensor:
    """Boolean tensor: where ``final`` differs from ``init`` bit for bit; +0 equals -0, NaNs compare by payload."""
    a, b = integers(init), integers(final)
    magnitude = torch.iinfo(a.dtype).max
    return (a != b) & (((a | b) & magnitude) != 0)


def exceeds(init: Tensor, final: Tensor, tolerance: float) -> Tensor:
    """Boolean tensor: where |Δ| > ``tolerance``, with Δ rounded once to fp32 (fp64 for fp64 weights).

    Where Δ is NaN there is no distance, and the coordinate counts if its bits changed.
    """
    distance = _distance(init, final)
    return changed(init, final) & ~(distance <= _round_down(tolerance, distance.dtype))


def count_changed(init: Weights, final: Weights) -> int:
    """Number of coordinates that :func:`changed` marks: the quick count for every training step.

    Raises :class:`MismatchError` when names, shapes or dtypes differ.
    """
    require_same_layout(init, final)
    if all(tensor.device.type == "cpu" for weights in (init, final) for tensor in weights.values()):
        return sum(_count_changed_on_host(tensor, final[name]) for name, tensor in init.items())
    # One transfer for all tensors: each .item() of its own would wait for the device.
    return int(torch.stack([changed(tensor, final[name]).sum() for name, tensor in init.items()]).sum())


def compare(init: Weights, final: Weights, tolerances: Sequence[float]) -> Comparison:
    """Count what changed, bitwise and beyond each of ``tolerances``, for every tensor.

    Raises :class:`MismatchError`, naming the tensor, when names, shapes or dtypes differ.
    """
    require_same_layout(init, final)
    taus = tuple(float(tau) for tau in tolerances)
    return Comparison(tuple(_compare_tensor(name, init[name], final[name], taus) for name in init), taus)


def require_same_layout(init: Weights, final: Weights) -> None:
    """Raise :class:`MismatchError` unless both hold the same names with the same shapes and dtypes."""
    require_same_names(init, final)
    for name, tensor in init.items():
        other = final[name]
        if tensor.shape != other.shape or tensor.dtype != other.dtype:
            raise MismatchError(
                f"tensor {name!r} is {tensor.dtype} {tuple(tensor.shape)} in the init"
                f" but {other.dtype} {tuple(other.shape)} in the final"
            )


def require_same_names(first: Mapping[str, object], second: Mapping[str, object]) -> None:
    """Raise :class:`MismatchError` naming a tensor that only one of the two has."""
    if odd := sorted(first.keys() ^ second.keys()):
        side = "first (init)" if odd[0] in first else "second (final)"
        more = f"; {len(odd) - 1} more are in one of them only" if len(odd) > 1 else ""
        raise MismatchError(f"tensor {odd[0]!r} is only in the {side} of the two that are compared{more}")


def chunk_counts(
    old: npt.NDArray[Any], new: npt.NDArray[Any], dtype: torch.dtype, tolerances: Sequence[float]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], dict[float, int], int]:
    """What differs between two flat arrays of the bits of ``dtype`` (see ``bits``): the core of every comparison.

    Returns the positions whose bits differ, those that are visible (±0 being equal), the number of visible coordinates
    with |Δ| > τ by tolerance τ (as :func:`exceeds` counts), and that of coordinates which are not finite in either.
    """
    # Distances are computed where bits differ, and there only: updates are sparse, and equality is one fast pass.
    positions = np.flatnonzero(old != new)
    a, b = old.take(positions), new.take(positions)
    largest = np.iinfo(old.dtype).max
    seen = ((a | b) & largest) != 0
    visible = positions
    if not seen.all():
        visible, a, b = positions[seen], a[seen], b[seen]
    counts = dict.fromkeys(tolerances, 0)
    if visible.size:
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.abs(_wide(b, dtype) - _wide(a, dtype))
        for tau in counts:
            within = distance <= distance.dtype.type(_round_down(tau, dtype))
            counts[tau] = visible.size - int(np.count_nonzero(within))
    return positions, visible, counts, count_nonfinite(old, new, dtype)


def count_visible(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> int:
    """How many positions :func:`chunk_counts` calls visible, several times as fast."""
    # The sign-only differences are rare, so that the test for ±0 runs on the few chunks that have any.
    differing = old ^ new
    count = int(np.count_nonzero(differing))
    sign = np.iinfo(old.dtype).min
    sign_only = differing == sign
    if sign_only.any():
        count -= int(np.count_nonzero(sign_only & ((old & ~sign) == 0)))
    return count


def count_nonfinite(old: npt.NDArray[Any], new: npt.NDArray[Any], dtype: torch.dtype) -> int:
    """At how many positions either holds the bits of a NaN or an infinity."""
    exponent = np.iinfo(old.dtype).max & ~((1 << float_format(dtype).mantissa_bits) - 1)
    if not (_reaches(old, exponent) or _reaches(new, exponent)):
        return 0
    return int(np.count_nonzero(((old & exponent) == exponent) | ((new & exponent) == exponent)))


def _wide(bits: npt.NDArray[Any], dtype: torch.dtype) -> npt.NDArray[Any]:
    """The numbers that ``bits`` of ``dtype`` hold, exactly, in fp32 (fp64 for fp64)."""
    if dtype == torch.bfloat16:
        # numpy has no bf16: it is the upper half of fp32.
        wide = bits.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if dtype == torch.float16:
        return bits.view(np.float16).astype(np.float32)
    return bits.view(np.float64 if dtype == torch.float64 else np.float32)


def _reaches(bits: npt.NDArray[Any], exponent: int) -> bool:
    # NaN and Inf have all bits of the exponent set, and so the largest magnitudes: of the positive numbers the largest
    # integers; of the negative ones, whose sign bit is set, the largest unsigned integers. Two passes, no temporary.
    if not bits.size:
        return False
    unsigned = bits.view(np.dtype(f"u{bits.itemsize}"))
    return int(bits.max()) >= exponent or int(unsigned.max()) >= exponent + (1 << (8 * bits.itemsize - 1))


def _count_changed_on_host(init: Tensor, final: Tensor) -> int:
    # numpy's integer kernels count four times as fast as torch's.
    a, b = flat_integers(init), flat_integers(final)
    return sum(
        count_visible(a[start : start + _CHUNK], b[start : start + _CHUNK]) for start in range(0, a.size, _CHUNK)
    )


def _compare_tensor(name: str, init: Tensor, final: Tensor, tolerances: tuple[float, ...]) -> TensorComparison:
    bitwise, nonfinite, counts = 0, 0, dict.fromkeys(tolerances, 0)
    old, new = flat_integers(init), flat_integers(final)
    for start in range(0, old.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        _, visible, beyond, odd = chunk_counts(old[part], new[part], init.dtype, tolerances)
        bitwise += visible.size
        nonfinite += odd
        for tau, count in beyond.items():
            counts[tau] += count
    return TensorComparison(
        name=name,
        shape=tuple(init.shape),
        dtype=str(init.dtype).removeprefix("torch."),
        n=init.numel(),
        changed_bitwise=bitwise,
        changed_abs=counts,
        nonfinite=nonfinite,
        layer=layer_index(name),
        module=module_kind(name),
    )


def _distance(init: Tensor, final: Tensor) -> Tensor:
    wide = torch.promote_types(init.dtype, torch.float32)
    return (final.detach().to(wide) - init.detach().to(wide)).abs_()


def _round_down(tolerance: float, dtype: torch.dtype) -> float:
    # torch compares an fp32 tensor with the scalar rounded to fp32. Rounded down, |Δ| > τ stays exact for the τ given.
    if dtype == torch.float64:
        return tolerance
    rounded = np.float32(tolerance)
    return float(rounded if float(rounded) <= tolerance else np.nextafter(rounded, np.float32(-math.inf)))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
