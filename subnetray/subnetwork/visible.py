"""Which coordinates of an update are visible, and how many: bit for bit, and beyond absolute tolerances.

Definitions: the paper (arXiv 2505.11711) calls two bf16 values equal when |Δ| ≤ 1e-5; bitwise comparison has no such
constant and is primary here, with +0 and -0 taken as equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from subnetray.subnetwork.bits import flat_integers, integers
from subnetray.subnetwork.counting import Counts, Thresholds, count, round_down, scan
from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.weights import Weights, layer_index, module_kind

# Coordinates compared at a time: the temporaries of a chunk stay in the cache, and memory stays bounded.
_CHUNK = 1 << 18

_Key = TypeVar("_Key", bound=Hashable)


class MismatchError(ValueError):
    """Two sets of weights or masks that cannot be compared: names, shapes or dtypes differ."""


@dataclass(frozen=True)
class TensorComparison:
    """What changed in one tensor: how many coordinates bit for bit, and by each level of :class:`Thresholds`."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    n: int
    changed_bitwise: int
    changed_abs: dict[float, int]
    nonfinite: int
    layer: int | None
    module: str
    changed_ulps: dict[int, int] = field(default_factory=dict)
    changed_relative: dict[float, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], dtype: torch.dtype, counts: Counts) -> TensorComparison:
        """The comparison of the tensor ``name``, whose chunks add up to ``counts``."""
        return cls(
            name=name,
            shape=shape,
            dtype=str(dtype).removeprefix("torch."),
            n=math.prod(shape),
            changed_bitwise=counts.visible,
            changed_abs=counts.absolute,
            nonfinite=counts.nonfinite,
            layer=layer_index(name),
            module=module_kind(name),
            changed_ulps=counts.ulps,
            changed_relative=counts.relative,
        )


@dataclass(frozen=True)
class Comparison:
    """What changed between an init and a final, over all coordinates of ``tensors`` (each counts once).

    ``nonfinite`` counts the coordinates at which the init or the final is NaN or infinite: a finding to report.
    """

    tensors: tuple[TensorComparison, ...]
    thresholds: Thresholds

    @property
    def n(self) -> int:
        return sum(tensor.n for tensor in self.tensors)

    @property
    def changed_bitwise(self) -> int:
        return sum(tensor.changed_bitwise for tensor in self.tensors)

    @property
    def changed_abs(self) -> dict[float, int]:
        return {tau: sum(tensor.changed_abs[tau] for tensor in self.tensors) for tau in self.thresholds.absolute}

    @property
    def changed_ulps(self) -> dict[int, int]:
        return {k: sum(tensor.changed_ulps[k] for tensor in self.tensors) for k in self.thresholds.ulps}

    @property
    def changed_relative(self) -> dict[float, int]:
        return {eta: sum(tensor.changed_relative[eta] for tensor in self.tensors) for eta in self.thresholds.relative}

    @property
    def nonfinite(self) -> int:
        return sum(tensor.nonfinite for tensor in self.tensors)

    @property
    def density_bitwise(self) -> float:
        """Changed / n; NaN without coordinates."""
        return ratio(self.changed_bitwise, self.n)

    @property
    def sparsity_bitwise(self) -> float:
        """Unchanged / n; NaN without coordinates."""
        return ratio(self.n - self.changed_bitwise, self.n)

    @property
    def density_abs(self) -> dict[float, float]:
        """Density by tolerance."""
        return {tau: ratio(count, self.n) for tau, count in self.changed_abs.items()}

    @property
    def density_ulps(self) -> dict[int, float]:
        """Density by the least number of ULPs."""
        return {k: ratio(count, self.n) for k, count in self.changed_ulps.items()}

    @property
    def density_relative(self) -> dict[float, float]:
        """Density by relative threshold."""
        return {eta: ratio(count, self.n) for eta, count in self.changed_relative.items()}

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
        return {value: replace(self, tensors=tuple(tensors)) for value, tensors in groups.items()}


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
    return changed(init, final) & ~(distance <= round_down(tolerance, distance.dtype))


def count_changed(init: Weights, final: Weights) -> int:
    """Number of coordinates that :func:`changed` marks: the quick count for every training step.

    Raises :class:`MismatchError` when names, shapes or dtypes differ.
    """
    require_same_layout(init, final)
    if all(tensor.device.type == "cpu" for weights in (init, final) for tensor in weights.values()):
        return sum(_count_changed_on_host(tensor, final[name]) for name, tensor in init.items())
    # One transfer for all tensors: each .item() of its own would wait for the device.
    return int(torch.stack([changed(tensor, final[name]).sum() for name, tensor in init.items()]).sum())


def compare(
    init: Weights,
    final: Weights,
    tolerances: Sequence[float],
    ulps: Sequence[int] = (),
    relative: Sequence[float] = (),
) -> Comparison:
    """Count what changed, bitwise and by each level of :class:`Thresholds`, for every tensor.

    Raises :class:`MismatchError`, naming the tensor, when names, shapes or dtypes differ.
    """
    require_same_layout(init, final)
    thresholds = Thresholds(tuple(map(float, tolerances)), tuple(ulps), tuple(map(float, relative)))
    return Comparison(tuple(_compare_tensor(name, init[name], final[name], thresholds) for name in init), thresholds)


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


def _count_changed_on_host(init: Tensor, final: Tensor) -> int:
    # Several times as fast as torch.
    return count(flat_integers(init), flat_integers(final), init.dtype).visible


def _compare_tensor(name: str, init: Tensor, final: Tensor, thresholds: Thresholds) -> TensorComparison:
    counts = Counts.none(thresholds)
    old, new = flat_integers(init), flat_integers(final)
    for start in range(0, old.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        counts.add(scan(old[part], new[part], init.dtype).counts(thresholds))
    return TensorComparison.of(name, tuple(init.shape), init.dtype, counts)


def _distance(init: Tensor, final: Tensor) -> Tensor:
    wide = torch.promote_types(init.dtype, torch.float32)
    return (final.detach().to(wide) - init.detach().to(wide)).abs_()
