"""Where a tensor of a checkpoint lies and how it is stored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Decoder(Protocol):
    """Turns what a file holds into numbers, for formats whose package can do so row by row."""

    def __call__(self, file: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        """The coordinates ``start`` to ``stop`` (C order), from an open file."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a checkpoint; ``dtype`` is None where it is stored in a format that weights are not compared in.

    A tensor of 8-bit codes with ``scales``, or with a ``decoder``, has the dtype that it is dequantised to. One of
    ``pieces``, or a ``merged`` one, is made of other tensors of the same checkpoint.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    stored_as: str
    file: Path
    offset: int = 0  # of its first byte in a safetensors file
    loaded: Tensor | None = field(default=None, compare=False)  # from a file of another kind
    mapped: bool = False  # whether that is so: its pages can be read from the file again
    scales: Scales | None = None
    decoder: Decoder | None = None
    pieces: tuple[Piece, ...] = ()
    merged: Merged | None = None
    part_of: str = ""  # the stored tensor that all of it is taken from

    @property
    def n(self) -> int:
        """Coordinates."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes that a coordinate takes in the file, scales aside."""
        assert self.dtype is not None
        return 1 if self.scales is not None or self.decoder is not None else self.dtype.itemsize

    @property
    def plain(self) -> bool:
        """Return whether its bytes stand in a file one after another, as they are compared."""
        return not (self.pieces or self.merged or self.scales or self.decoder or self.loaded is not None)


@dataclass(frozen=True)
class Scales:
    """What the codes of a tensor of 8-bit floats are multiplied by: one factor a block of ``rows`` × ``columns``.

    ``tensor`` holds the factors in C order of the blocks; the last blocks of a row or column may be cut off.
    """

    tensor: StoredTensor
    rows: int
    columns: int


@dataclass(frozen=True)
class Piece:
    """An array of coordinates of the tensor ``of``: from ``start`` on, ``strides`` coordinates apart."""

    of: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def n(self) -> int:
        return math.prod(self.shape)

    def indices(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Map its own coordinates ``start`` to ``stop`` (C order) to those of ``of``."""
        rest = np.arange(start, stop, dtype=np.int64)
        found = np.full(rest.shape, self.start, np.int64)
        for side, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            rest, within = np.divmod(rest, side)
            found += within * stride
        return found


def whole(tensor: StoredTensor) -> Piece:
    """All of a tensor."""
    return Piece(tensor.name, 0, tensor.shape, dense(tensor.shape))


def dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in coordinates, of an array in C order."""
    strides = [1]
    for side in reversed(shape[1:]):
        strides.append(strides[-1] * side)
    return tuple(reversed(strides))[: len(shape)] if shape else ()


@dataclass(frozen=True)
class Merged:
    """A matrix ``base`` with a LoRA adapter: base + ``scale`` · up · down, rounded as PEFT rounds when it merges.

    ``down`` is ``lora_A`` of (rank, in), ``up`` is ``lora_B`` of (out, rank); all three are names of tensors. The
    product is rounded to the dtype ``product`` before the sum, and is ``transposed`` if the base is stored as (in,
    out), as an embedding and a ``Conv1D`` of GPT-2 are.
    """

    base: str
    down: str
    up: str
    scale: float
    product: torch.dtype
    transposed: bool = False


def take(values: npt.NDArray[Any], indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Numbers at indices, counted from the least of these."""
    return values[indices - indices.min()]
