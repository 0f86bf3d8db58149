"""Reading any range of a tensor's coordinates, without holding it, however it is stored."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.loops import Place
from subnetray.checkpoints.quantised import blocks_across, dequantise, factors_of, scale_rows
from subnetray.checkpoints.stored import Merged, Piece, StoredTensor, dense
from subnetray.config import ConfigError
from subnetray.subnetwork.bits import flat_integers, from_integers, integer_type
from subnetray.text import shown

_LIBC = ctypes.CDLL(None)
# Coordinates that are read at once to pick some of them: more than so many times as needed are not.
_SPREAD = 16


class Checkpoint:
    """The tensors of a directory or file by name. Files are opened once and closed with :meth:`close`.

    ``config`` is what its config.json says, ``notes`` is what a user should know of how it was read. ``derived`` are
    tensors that a comparison made of those that are stored: a part of a fused one, or one with its adapter.
    """

    def __init__(
        self,
        path: Path,
        tensors: dict[str, StoredTensor],
        config: Mapping[str, Any],
        base: Path | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.path, self.tensors, self.config, self.base, self.notes = path, tensors, config, base, notes
        self.derived: dict[str, StoredTensor] = {}
        self.facts: Mapping[str, Any] | None = None  # of a GGUF file: what its header says
        self.adapters: dict[str, tuple[StoredTensor, str]] = {}  # that were not merged, and why
        self._handles: dict[Path, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        # For another process, which keeps it open from one task to the next.
        return _reopened, (self.path, self.base, tuple(self.derived.values()))

    def close(self) -> None:
        """Close all files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def tensor(self, name: str) -> StoredTensor:
        """A tensor that is stored, or derived of such."""
        return self.derived[name] if name in self.derived else self.tensors[name]

    def read(
        self, name: str, start: int, stop: int, dtype: torch.dtype, buffer: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[Any]:
        """Coordinates ``start`` to ``stop`` (C order) rounded to ``dtype``, as the integers that hold them.

        ``buffer``, of 8 bytes a coordinate or more, is what they are read into: memory that is in the cache already.
        """
        tensor = self.tensor(name)
        assert tensor.dtype is not None
        if tensor.pieces:
            bits = self._gathered(tensor, start, stop)
            return bits if dtype == tensor.dtype else flat_integers(from_integers(bits, tensor.dtype).to(dtype))
        if tensor.merged is not None:
            return flat_integers(self._merged(tensor, tensor.merged, start, stop).to(dtype))
        if tensor.decoder is not None:
            values = torch.from_numpy(tensor.decoder(self._handle(tensor.file), start, stop))
            return flat_integers(values.to(dtype))
        if tensor.scales is not None:
            return flat_integers(torch.from_numpy(self._dequantised(tensor, start, stop, buffer)).to(dtype))
        bits = self._bits(tensor, start, stop, tensor.dtype, buffer)
        return bits if dtype == tensor.dtype else flat_integers(from_integers(bits, tensor.dtype).to(dtype))

    def place(self, name: str, start: int, dtype: torch.dtype) -> Place | None:
        """Find where coordinate ``start`` of a tensor is stored as ``dtype``; None if it has to be converted first."""
        tensor = self.tensor(name)
        if tensor.dtype != dtype or not tensor.plain:
            return None
        return Place(self._handle(tensor.file), tensor.offset + start * tensor.itemsize)

    def _gathered(self, tensor: StoredTensor, start: int, stop: int) -> npt.NDArray[Any]:
        """Coordinates of a tensor that is made of pieces of others, as the integers that hold them."""
        assert tensor.dtype is not None
        found = np.empty(stop - start, integer_type(tensor.dtype))
        begin = 0
        for piece in tensor.pieces:
            first, last = max(start, begin), min(stop, begin + piece.n)
            if first < last:
                found[first - start : last - start] = self._picked(piece, first - begin, last - begin, tensor.dtype)
            begin += piece.n
        return found

    def _picked(self, piece: Piece, start: int, stop: int, dtype: torch.dtype) -> npt.NDArray[Any]:
        if piece.strides == dense(piece.shape):
            return self.read(piece.of, piece.start + start, piece.start + stop, dtype)
        indices = piece.indices(start, stop)
        least, most = int(indices.min()), int(indices.max()) + 1
        if most - least <= _SPREAD * (stop - start):
            return self.read(piece.of, least, most, dtype)[indices - least]
        of = self.tensor(piece.of)
        if of.plain and of.dtype == dtype:  # as in a transposed matrix: pages that hold some of them, one by one
            stored = np.memmap(of.file, integer_type(dtype), "r", of.offset, (of.n,))
            picked: npt.NDArray[Any] = np.asarray(stored[indices])
            return picked
        # Rows of what is not stored as it is compared.
        chosen = np.empty(indices.size, integer_type(dtype))
        for row in np.array_split(np.arange(indices.size), max(1, (most - least) // (_SPREAD * (stop - start)))):
            low, high = int(indices[row].min()), int(indices[row].max()) + 1
            chosen[row] = self.read(piece.of, low, high, dtype)[indices[row] - low]
        return chosen

    def _merged(self, tensor: StoredTensor, merged: Merged, start: int, stop: int) -> torch.Tensor:
        """Coordinates of a matrix with its adapter, flat, in the dtype of the matrix."""
        columns = tensor.shape[-1]
        first, last = start // columns, -(-stop // columns)
        assert tensor.dtype is not None
        base = from_integers(self.read(merged.base, first * columns, last * columns, tensor.dtype), tensor.dtype)
        rank, across = self.tensor(merged.down).shape
        inner = self._matrix(merged.down, 0, rank, across)
        if merged.transposed:
            change = inner[:, first:last].t() @ self._matrix(merged.up, 0, columns, rank).t() * merged.scale
        else:
            change = self._matrix(merged.up, first, last, rank) @ inner * merged.scale
        whole = base + change.to(merged.product).reshape(-1)
        return whole.to(tensor.dtype)[start - first * columns : stop - first * columns]

    def _matrix(self, name: str, first: int, last: int, columns: int) -> torch.Tensor:
        """Read rows ``first`` to ``last`` of a matrix, in fp32."""
        dtype = self.tensor(name).dtype
        assert dtype is not None
        rows = self.read(name, first * columns, last * columns, dtype)
        return from_integers(rows, dtype).float().reshape(-1, columns)

    def _dequantised(
        self, tensor: StoredTensor, start: int, stop: int, buffer: npt.NDArray[np.uint8] | None
    ) -> npt.NDArray[np.float32]:
        n = stop - start
        if n == 0:
            return np.empty(0, np.float32)
        assert tensor.scales is not None
        scale = tensor.scales.tensor
        first, last = scale_rows(tensor, start, stop)
        across = blocks_across(tensor)
        dtype = scale.dtype or torch.uint8
        factors = factors_of(self._bits(scale, first * across, last * across, dtype), scale)
        # Values first, where they are aligned, then codes.
        space = np.empty(5 * n, np.uint8) if buffer is None else buffer
        values = space[: 4 * n].view(np.float32)
        dequantise(self._bits(tensor, start, stop, torch.uint8, space[4 * n :]), factors, tensor, start, values)
        return values

    def _bits(
        self,
        tensor: StoredTensor,
        start: int,
        stop: int,
        dtype: torch.dtype,
        buffer: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[Any]:
        """The bits of what is stored as ``dtype``: 8-bit codes as uint8, all else as :func:`flat_integers` has it."""
        coded = dtype == torch.uint8
        integer = np.dtype(np.uint8) if coded else integer_type(dtype)
        nbytes = (stop - start) * integer.itemsize
        data = np.empty(nbytes, np.uint8) if buffer is None else buffer[:nbytes]
        bits = data.view(integer)
        if tensor.loaded is not None:
            loaded = tensor.loaded.view(torch.uint8).flatten().numpy() if coded else flat_integers(tensor.loaded)
            mapped = loaded[start:stop]
            bits[:] = mapped
            if tensor.mapped:  # what is in memory alone would be lost
                _give_back(mapped)
            return bits
        done = 0
        while done < nbytes:
            count = os.preadv(
                self._handle(tensor.file), [data[done:].data], tensor.offset + start * integer.itemsize + done
            )
            if count == 0:
                raise ConfigError(f"{tensor.file} ends inside of tensor {shown(tensor.name)}: it is truncated")
            done += count
        return bits

    def _handle(self, file: Path) -> int:
        with self._lock:
            if file not in self._handles:
                self._handles[file] = os.open(file, os.O_RDONLY)
            return self._handles[file]


def _give_back(mapped: npt.NDArray[Any]) -> None:
    """Take the whole pages of a mapped file out of this process's memory; reading them again maps them again."""
    first = -(-mapped.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (mapped.ctypes.data + mapped.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        _LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


@functools.cache
def _reopened(path: Path, base: Path | None, derived: tuple[StoredTensor, ...]) -> Checkpoint:
    # Here: the reader opens what this module reads.
    from subnetray.checkpoints.reader import open_checkpoint

    checkpoint = open_checkpoint(path, str(path), base)
    checkpoint.derived |= {tensor.name: tensor for tensor in derived}
    return checkpoint
