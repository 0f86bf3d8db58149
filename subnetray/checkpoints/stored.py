"""Where a tensor of a checkpoint lies and how it is stored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a checkpoint; ``dtype`` is None where it is stored in a format that weights are not compared in.

    A tensor of 8-bit floats with ``scales`` has the dtype that it is dequantised to.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    stored_as: str
    file: Path
    offset: int = 0  # of its first byte in a safetensors file
    loaded: Tensor | None = field(default=None, compare=False)  # from a file of another kind, mapped into memory
    scales: Scales | None = None

    @property
    def n(self) -> int:
        """Coordinates."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes that a coordinate takes in the file, scales aside."""
        assert self.dtype is not None
        return 1 if self.scales is not None else self.dtype.itemsize


@dataclass(frozen=True)
class Scales:
    """What the codes of a tensor of 8-bit floats are multiplied by: one factor a block of ``rows`` × ``columns``.

    ``tensor`` holds the factors in C order of the blocks; the last blocks of a row or column may be cut off.
    """

    tensor: StoredTensor
    rows: int
    columns: int
