"""Deltas: init + delta = final, bit for bit.

A delta's positions are the coordinates whose *stored bits* differ. Where an update only turns +0 into -0 (or back)
nothing is visible, yet the bits differ; a delta holds that coordinate and a visible mask does not.

What a delta holds of such a coordinate is a step: what the integer that its bits are moves by, modulo the integer's
range. Nearly all steps of an update are of a few representable values, so that half a byte holds them where the
weight itself has two (see ``files.encoding``); and steps can be negated and added up without the weights that they
lead from.
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

from subnetray.subnetwork.bits import FORMATS, flat_integers, from_integers, integer_type
from subnetray.subnetwork.files import container
from subnetray.subnetwork.files.container import CorruptFileError
from subnetray.subnetwork.files.encoding import pack_steps, unpack_steps
from subnetray.subnetwork.hashing import BLOCK, block_hash, combined_hash, joined_hash, weights_hash
from subnetray.subnetwork.loops.scatter import add, kept, put
from subnetray.subnetwork.mask import Bits, Mask, pack, require_same_shapes, unpack
from subnetray.subnetwork.visible import MismatchError, require_same_layout
from subnetray.subnetwork.weights import Weights

_MASK, _STEPS = "mask/", "steps/"
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in FORMATS}


class DeltaError(ValueError):
    """A delta that does not belong to the weights, or to the other delta, that it was used with."""


@dataclass(frozen=True, eq=False)
class Delta:
    """What turns the weights of hash ``init_hash`` into those of ``final_hash`` (see :func:`weights_hash`).

    ``mask`` marks the coordinates that are stepped, ``steps`` holds for each tensor how far: 1-D, in C order of the
    coordinates, as signed integers of the width of the tensor's dtype, which ``dtypes`` names.
    """

    init_hash: str
    final_hash: str
    dtypes: dict[str, torch.dtype]
    mask: Mask
    steps: dict[str, npt.NDArray[Any]]

    @classmethod
    def between(cls, init: Weights, final: Weights) -> Delta:
        """The smallest delta from ``init`` to ``final``; raises :class:`MismatchError` when their layouts differ."""
        require_same_layout(init, final)
        bits: dict[str, npt.NDArray[np.uint8]] = {}
        steps: dict[str, npt.NDArray[Any]] = {}
        for name, tensor in init.items():
            bits[name], steps[name] = _nonzero(flat_integers(final[name]) - flat_integers(tensor))
        mask = Mask(bits, {name: tuple(tensor.shape) for name, tensor in init.items()})
        dtypes = {name: tensor.dtype for name, tensor in init.items()}
        return cls(weights_hash(init), weights_hash(final), dtypes, mask, steps)

    def apply(self, init: Weights) -> dict[str, Tensor]:
        """The final, in new tensors on the host; raises :class:`DeltaError` unless ``init`` is the delta's init."""
        self._require_layout(init)
        final, hashes = {}, {}
        for name, tensor in init.items():
            array, blocks = _stepped(flat_integers(tensor), self.mask.bits[name], self.steps[name])
            final[name] = from_integers(array, tensor.dtype).reshape(tensor.shape)
            hashes[name] = joined_hash(blocks, tensor.dtype, tuple(tensor.shape))
        self._require_hash(combined_hash(hashes))
        return final

    def verify(self, init: Weights) -> None:
        """Raise :class:`DeltaError` unless applying the delta to ``init`` gives the final it was made from."""
        if weights_hash(self.apply(init)) != self.final_hash:
            raise DeltaError(f"the delta does not restore the final of hash {self.final_hash}: its steps are damaged")

    def invert(self) -> Delta:
        """The delta from the final back to the init."""
        steps = {name: np.negative(each) for name, each in self.steps.items()}
        return Delta(self.final_hash, self.init_hash, self.dtypes, self.mask, steps)

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write a safetensors file atomically.

        Tensors: ``mask/<name>`` (uint8, packed bits, see :class:`Mask`) and ``steps/<name>`` (uint8, see
        ``files.encoding``). Header (see ``files.container``): ``init_hash``, ``final_hash``, ``shapes``, ``dtypes``.
        Both are compressed where that helps: the file has at most n/8 bytes, those of the changed values, and one for
        each 2^18 coordinates.
        """
        tensors = {_MASK + name: torch.from_numpy(bits) for name, bits in self.mask.bits.items()}
        for name, steps in self.steps.items():
            tensors[_STEPS + name] = torch.from_numpy(pack_steps(steps, self.mask.bits[name]))
        description = describe(self.init_hash, self.final_hash, self.mask.shapes, self.dtypes)
        container.save(path, "delta", tensors, description, metadata or {})

    @classmethod
    def load(cls, path: Path) -> Delta:
        """Read what :meth:`save` wrote; raises :class:`CorruptFileError` unless the file is whole and consistent."""
        tensors, header = container.load(path, "delta")
        mask = Mask.from_stored(path, _with_prefix(tensors, _MASK), header)
        hashes = _hash(path, header, "init_hash"), _hash(path, header, "final_hash")
        streams = _with_prefix(tensors, _STEPS)
        try:
            dtypes = {name: _DTYPES[header["dtypes"][name]] for name in streams}
            steps = {
                name: unpack_steps(stream.numpy(), mask.bits[name], integer_type(dtypes[name]))
                for name, stream in streams.items()
            }
            if steps.keys() != mask.bits.keys():
                raise KeyError
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"{path} does not hold one step for every coordinate of its mask") from error
        return cls(*hashes, dtypes, mask, steps)

    def _require_hash(self, found: str) -> None:
        if found != self.init_hash:
            raise DeltaError(f"the delta was made from an init of hash {self.init_hash}, not from this one ({found})")

    def _require_layout(self, init: Weights) -> None:
        layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in init.items()}
        if layout != {name: (shape, self.dtypes[name]) for name, shape in self.mask.shapes.items()}:
            self._require_hash(weights_hash(init))
            # The hash vouches for the init alone; steps of another format would be taken for this one's.
            raise DeltaError("the delta's tensors do not have the names, shapes and dtypes of the init that it names")


def compose(first: Delta, second: Delta) -> Delta:
    """The delta a → c from ``first`` (a → b) and ``second`` (b → c): what ``Delta.between(a, c)`` is.

    Raises :class:`DeltaError` if they do not meet, :class:`MismatchError` if their layouts differ.
    """
    if first.final_hash != second.init_hash:
        raise DeltaError(
            f"the first delta ends at weights of hash {first.final_hash}, but the second starts from {second.init_hash}"
        )
    require_same_shapes(first.mask.shapes, second.mask.shapes)
    for name, dtype in first.dtypes.items():
        if dtype != second.dtypes[name]:
            raise MismatchError(
                f"tensor {name!r} is {dtype} in the first delta and {second.dtypes[name]} in the second"
            )
    bits: dict[str, npt.NDArray[np.uint8]] = {}
    steps: dict[str, npt.NDArray[Any]] = {}
    for name in first.steps:
        one, two = (_spread(delta.steps[name], delta.mask.flat(name)) for delta in (first, second))
        bits[name], steps[name] = _nonzero(one + two)
    return Delta(first.init_hash, second.final_hash, first.dtypes, Mask(bits, first.mask.shapes), steps)


def describe(
    init_hash: str, final_hash: str, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, torch.dtype]
) -> dict[str, Any]:
    """What a delta's file says of it in its header."""
    names = {name: str(dtype).removeprefix("torch.") for name, dtype in dtypes.items()}
    return {"init_hash": init_hash, "final_hash": final_hash, "shapes": shapes, "dtypes": names}


def _nonzero(steps: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Where there are steps, packed, and these."""
    where = steps != 0
    return pack(where), kept(steps, where, int(np.count_nonzero(where)))


def _spread(steps: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """A step for every coordinate, 0 where there is none."""
    spread = np.zeros(where.size, steps.dtype)
    put(steps, where, spread)
    return spread


def _stepped(old: npt.NDArray[Any], mask: Bits, steps: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[bytes]]:
    """The new bits of a tensor, and the hashes of the blocks of the old ones."""
    # Block by block: what a block is made of is in the cache while it is needed.
    new, blocks, at = np.empty_like(old), [], 0
    for start in range(0, old.size, BLOCK):
        source = old[start : start + BLOCK]
        blocks.append(block_hash(source))
        where = unpack(mask[start // 8 : start // 8 + -(-source.size // 8)], source.size)
        count = int(np.count_nonzero(where))
        add(steps[at : at + count], where, source, new[start : start + BLOCK])
        at += count
    return new, blocks


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _hash(path: Path, header: Mapping[str, Any], key: str) -> str:
    value = header.get(key)
    if not isinstance(value, str):
        raise CorruptFileError(f"{path} has no {key} in its header")
    return value
