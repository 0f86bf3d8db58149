"""Deltas: init + delta = final, bit for bit.

A delta's positions are the coordinates whose *stored bits* differ. Where an update only turns +0 into -0 (or back)
nothing is visible, yet the bits differ; a delta holds that coordinate and a visible mask does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.subnetwork import storage
from subnetray.subnetwork.bits import flat_integers, from_integers
from subnetray.subnetwork.hashing import BLOCK, block_hash, combined_hash, joined_hash, weights_hash
from subnetray.subnetwork.kernels import kept, put
from subnetray.subnetwork.mask import Bits, Mask, pack, require_same_shapes, unpack
from subnetray.subnetwork.storage import CorruptFileError
from subnetray.subnetwork.visible import MismatchError, require_same_layout
from subnetray.subnetwork.weights import Weights

_MASK, _VALUES = "mask/", "values/"


class DeltaError(ValueError):
    """A delta that does not belong to the weights, or to the other delta, that it was used with."""


@dataclass(frozen=True, eq=False)
class Delta:
    """What turns the weights of hash ``init_hash`` into those of ``final_hash`` (see :func:`weights_hash`).

    ``mask`` marks the coordinates that are written, ``values`` holds for each tensor their new values: 1-D, in C order
    of the coordinates, in the tensor's own dtype.
    """

    init_hash: str
    final_hash: str
    mask: Mask
    values: dict[str, Tensor]

    @classmethod
    def between(cls, init: Weights, final: Weights) -> Delta:
        """The smallest delta from ``init`` to ``final``; raises :class:`MismatchError` when their layouts differ."""
        require_same_layout(init, final)
        bits: dict[str, npt.NDArray[np.uint8]] = {}
        values: dict[str, Tensor] = {}
        for name, tensor in init.items():
            new = flat_integers(final[name])
            differing = flat_integers(tensor) != new
            bits[name] = pack(differing)
            values[name] = from_integers(kept(new, differing, int(np.count_nonzero(differing))), tensor.dtype)
        mask = Mask(bits, {name: tuple(tensor.shape) for name, tensor in init.items()})
        return cls(weights_hash(init), weights_hash(final), mask, values)

    def apply(self, init: Weights) -> dict[str, Tensor]:
        """The final, in new tensors on the host; raises :class:`DeltaError` unless ``init`` is the delta's init."""
        self._require_layout(init)
        final, hashes = {}, {}
        for name, tensor in init.items():
            array, blocks = _restored(flat_integers(tensor), self.mask.bits[name], flat_integers(self.values[name]))
            final[name] = from_integers(array, tensor.dtype).reshape(tensor.shape)
            hashes[name] = joined_hash(blocks, tensor.dtype, tuple(tensor.shape))
        self._require_hash(combined_hash(hashes))
        return final

    def verify(self, init: Weights) -> None:
        """Raise :class:`DeltaError` unless applying the delta to ``init`` gives the final it was made from."""
        if weights_hash(self.apply(init)) != self.final_hash:
            raise DeltaError(f"the delta does not restore the final of hash {self.final_hash}: its values are damaged")

    def invert(self, init: Weights) -> Delta:
        """The delta from the final back to ``init``."""
        self._require_layout(init)
        self._require_hash(weights_hash(init))
        values = {
            name: from_integers(
                kept(flat_integers(tensor), self.mask.flat(name), self.values[name].numel()), tensor.dtype
            )
            for name, tensor in init.items()
        }
        return Delta(self.final_hash, self.init_hash, self.mask, values)

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write a safetensors file atomically.

        Tensors: ``mask/<name>`` (uint8, packed bits, see :class:`Mask`) and ``values/<name>`` (the tensor's dtype).
        Header (see ``storage``): ``init_hash``, ``final_hash``, ``shapes``. Masks are compressed where that helps,
        below a density of some 30 %: the file has the bytes of the values, and at most n/8 more.
        """
        tensors = {_MASK + name: torch.from_numpy(bits) for name, bits in self.mask.bits.items()}
        tensors |= {_VALUES + name: values for name, values in self.values.items()}
        description = {"init_hash": self.init_hash, "final_hash": self.final_hash, "shapes": self.mask.shapes}
        storage.save(
            path, "delta", tensors, description, metadata or {}, compress=[*map(_MASK.__add__, self.mask.bits)]
        )

    @classmethod
    def load(cls, path: Path) -> Delta:
        """Read what :meth:`save` wrote; raises :class:`CorruptFileError` unless the file is whole and consistent."""
        tensors, header = storage.load(path, "delta")
        mask = Mask.from_stored(path, _with_prefix(tensors, _MASK), header)
        values = _with_prefix(tensors, _VALUES)
        counts = {name: int(np.bitwise_count(bits).sum(dtype=np.int64)) for name, bits in mask.bits.items()}
        if counts != {name: value.numel() for name, value in values.items()}:
            raise CorruptFileError(f"{path} does not hold one value for every coordinate of its mask")
        return cls(_hash(path, header, "init_hash"), _hash(path, header, "final_hash"), mask, values)

    def _require_hash(self, found: str) -> None:
        if found != self.init_hash:
            raise DeltaError(f"the delta was made from an init of hash {self.init_hash}, not from this one ({found})")

    def _require_layout(self, init: Weights) -> None:
        layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in init.items()}
        if layout != {name: (shape, self.values[name].dtype) for name, shape in self.mask.shapes.items()}:
            self._require_hash(weights_hash(init))
            # The hash vouches for the init alone; the bits of values of another format would be taken for this one's.
            raise DeltaError("the delta's tensors do not have the names, shapes and dtypes of the init that it names")


def compose(first: Delta, second: Delta) -> Delta:
    """The delta a → c from ``first`` (a → b) and ``second`` (b → c); raises :class:`DeltaError` if they do not meet.

    Its positions are the union of both: that a coordinate is back at its value in a cannot be told without a, so such
    a coordinate stays listed and ``Delta.between(a, c)`` may be smaller.
    """
    if first.final_hash != second.init_hash:
        raise DeltaError(
            f"the first delta ends at weights of hash {first.final_hash}, but the second starts from {second.init_hash}"
        )
    require_same_shapes(first.mask.shapes, second.mask.shapes)
    values = {}
    for name, old in first.values.items():
        new = second.values[name]
        if old.dtype != new.dtype:
            raise MismatchError(f"tensor {name!r} is {old.dtype} in the first delta and {new.dtype} in the second")
        in_first, in_second = first.mask.flat(name), second.mask.flat(name)
        merged = np.zeros(in_first.size, flat_integers(old).dtype)
        put(flat_integers(old), in_first, merged)
        put(flat_integers(new), in_second, merged)
        union = in_first | in_second
        values[name] = from_integers(kept(merged, union, int(np.count_nonzero(union))), old.dtype)
    return Delta(first.init_hash, second.final_hash, first.mask | second.mask, values)


def _restored(old: npt.NDArray[Any], mask: Bits, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[bytes]]:
    """The new bits of a tensor, and the hashes of the blocks of the old ones."""
    # Block by block: what a block is made of is in the cache while it is needed.
    new, blocks, at = np.empty_like(old), [], 0
    for start in range(0, old.size, BLOCK):
        source, part = old[start : start + BLOCK], new[start : start + BLOCK]
        blocks.append(block_hash(source))
        part[:] = source
        where = unpack(mask[start // 8 : start // 8 + -(-part.size // 8)], part.size)
        count = int(np.count_nonzero(where))
        put(values[at : at + count], where, part)
        at += count
    return new, blocks


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _hash(path: Path, header: Mapping[str, Any], key: str) -> str:
    value = header.get(key)
    if not isinstance(value, str):
        raise CorruptFileError(f"{path} has no {key} in its header")
    return value
