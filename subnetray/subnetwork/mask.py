"""Masks: one bit a coordinate, 1 = updated, packed eight to a byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.headers import shapes_of
from subnetray.subnetwork.files import container
from subnetray.subnetwork.files.container import CorruptFileError
from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.visible import MismatchError, changed, require_same_layout, require_same_names
from subnetray.subnetwork.weights import Weights

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Mask:
    """A subnetwork: for every tensor, which of its coordinates (C order) are in.

    ``bits`` holds ceil(n/8) bytes a tensor, the first coordinate in the lowest bit of the first byte, padding bits 0.
    Masks of the same layout combine with ``&``, ``|`` and ``~`` and compare with ``==``.
    """

    bits: dict[str, Bits]
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def between(cls, init: Weights, final: Weights) -> Mask:
        """Mask of the visible coordinates; raises :class:`MismatchError` when names, shapes or dtypes differ."""
        require_same_layout(init, final)
        return cls.from_bools({name: changed(tensor, final[name]) for name, tensor in init.items()})

    @classmethod
    def from_bools(cls, bools: Mapping[str, Tensor]) -> Mask:
        """Mask from boolean tensors."""
        return cls(
            {name: pack(value.reshape(-1).cpu().numpy()) for name, value in bools.items()},
            {name: tuple(value.shape) for name, value in bools.items()},
        )

    def bools(self) -> dict[str, Tensor]:
        """Inverse of :meth:`from_bools`."""
        return {name: torch.from_numpy(self.flat(name)).reshape(shape) for name, shape in self.shapes.items()}

    def flat(self, name: str) -> npt.NDArray[np.bool_]:
        """The bits of one tensor as a flat boolean array."""
        return unpack(self.bits[name], math.prod(self.shapes[name]))

    @property
    def n(self) -> int:
        """Coordinates in all."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @cached_property
    def k(self) -> int:
        """Coordinates in the mask."""
        return sum(int(np.bitwise_count(bits).sum(dtype=np.int64)) for bits in self.bits.values())

    @property
    def density(self) -> float:
        """k / n; NaN without coordinates."""
        return ratio(self.k, self.n)

    def __and__(self, other: Mask) -> Mask:
        return self._combine(other, np.bitwise_and)

    def __or__(self, other: Mask) -> Mask:
        return self._combine(other, np.bitwise_or)

    def __invert__(self) -> Mask:
        return Mask(
            {name: ~bits & _padding_free(math.prod(self.shapes[name])) for name, bits in self.bits.items()},
            self.shapes,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.shapes == other.shapes and all(
            np.array_equal(bits, other.bits[name]) for name, bits in self.bits.items()
        )

    __hash__ = None  # type: ignore[assignment]  # arrays cannot be hashed

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a safetensors file atomically: one uint8 tensor a name, the shapes in the header (see ``container``).

        Bits are compressed where that helps.
        """
        tensors = {name: torch.from_numpy(bits) for name, bits in self.bits.items()}
        container.save(path, "mask", tensors, {"shapes": self.shapes}, metadata)

    @classmethod
    def load(cls, path: Path) -> Mask:
        """Read what :meth:`save` wrote; raises :class:`CorruptFileError` unless the file is whole and consistent."""
        tensors, header = container.load(path, "mask")
        return cls.from_stored(path, tensors, header)

    @classmethod
    def from_stored(cls, path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Mask:
        """Mask from the stored bits of a file at ``path``; checks that they fit the shapes its header gives."""
        try:
            shapes = shapes_of(header["shapes"])
        except (KeyError, ValueError):
            raise CorruptFileError(f"{path} has no readable shapes in its header") from None
        if shapes.keys() != tensors.keys():
            raise CorruptFileError(f"{path} does not hold a mask for every shape in its header")
        for name, shape in shapes.items():
            _check_bits(path, name, tensors[name], math.prod(shape))
        return cls({name: tensors[name].numpy() for name in shapes}, shapes)

    def _combine(self, other: Mask, operation: Callable[[Bits, Bits], Bits]) -> Mask:
        require_same_shapes(self.shapes, other.shapes)
        return Mask({name: operation(bits, other.bits[name]) for name, bits in self.bits.items()}, self.shapes)


def require_same_shapes(first: Mapping[str, tuple[int, ...]], second: Mapping[str, tuple[int, ...]]) -> None:
    """Raise :class:`MismatchError`, naming a tensor, unless both have the same names and shapes."""
    require_same_names(first, second)
    for name, shape in first.items():
        if shape != second[name]:
            raise MismatchError(f"tensor {name!r} has shape {shape} in one and {second[name]} in the other")


def pack(bools: npt.NDArray[np.bool_]) -> Bits:
    """Flat boolean array to packed bits, first coordinate in the lowest bit."""
    return np.packbits(bools, bitorder="little")


def unpack(bits: Bits, n: int) -> npt.NDArray[np.bool_]:
    """Inverse of :func:`pack` for ``n`` coordinates."""
    return np.unpackbits(bits, count=n, bitorder="little").view(np.bool_)


def _padding_free(n: int) -> Bits:
    return pack(np.ones(n, dtype=np.bool_))


def _check_bits(path: Path, name: str, bits: Tensor, n: int) -> None:
    if bits.dtype != torch.uint8 or bits.shape != (-(-n // 8),):
        raise CorruptFileError(f"{path}: mask of {name!r} must be {-(-n // 8)} bytes for its {n} coordinates")
    if n % 8 and int(bits[-1]) >> n % 8:
        raise CorruptFileError(f"{path}: mask of {name!r} has bits set beyond its {n} coordinates")
