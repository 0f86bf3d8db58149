"""Comparing one part of a tensor: what a thread, or a process of a cluster, does on its own."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.checkpoint import Checkpoint
from subnetray.checkpoints.loops import IN_MEMORY, Found, Into, Place, scan_places, tally_places
from subnetray.checkpoints.match import Match
from subnetray.subnetwork.bits import integer_type
from subnetray.subnetwork.counting import Chunk, Counts, Thresholds, count
from subnetray.subnetwork.files.encoding import stream_bytes
from subnetray.subnetwork.files.memory import pages
from subnetray.subnetwork.hashing import BLOCK, block_hash
from subnetray.subnetwork.loops.kernels import Room, bits_bytes, numbers_bytes
from subnetray.subnetwork.loops.vectors import VECTOR
from subnetray.subnetwork.loops.xxh3 import SHORT
from subnetray.subnetwork.mask import Bits


def _nothing() -> Bits:
    return np.empty(0, np.uint8)


@dataclass(frozen=True, eq=False)
class Part:
    """Some blocks of a tensor: counts, and what the mask (``visible``) and the delta (all else) need of them."""

    n: int
    counts: Counts
    visible: Bits = field(default_factory=_nothing)  # packed
    differing: Bits = field(default_factory=_nothing)  # packed
    steps: Bits = field(default_factory=_nothing)  # as a stream (see ``subnetwork.files.encoding``)
    init: bytes = b""  # hashes of blocks, one after another
    final: bytes = b""
    memory: Bits | None = None  # that all this lies in


class Comparer:
    """Compares parts of tensors, in any thread; each thread has memory of its own that blocks are read to."""

    def __init__(self, init: Checkpoint, final: Checkpoint, thresholds: Thresholds, mask: bool, delta: bool) -> None:
        self._init, self._final, self._thresholds, self._mask, self._delta = init, final, thresholds, mask, delta
        self._local = threading.local()

    def __reduce__(self) -> Any:
        return Comparer, (self._init, self._final, self._thresholds, self._mask, self._delta)

    def __call__(self, each: Match, dtype: torch.dtype, start: int, stop: int, memory: Bits | None = None) -> Part:
        """Compare the coordinates ``start`` to ``stop``, in ``dtype``; what is found lies in ``memory``, if given.

        ``memory`` has the :func:`part_bytes` of these coordinates, or more.
        """
        n = stop - start
        if not self._mask and self._thresholds == Thresholds():
            return Part(n, self._counts(each, dtype, start, stop))
        if memory is None:
            nbytes = part_bytes(n, dtype)
            # Of a part without bits nothing but counts is left.
            memory = np.empty(nbytes, np.uint8) if self._mask else self._buffer("part", nbytes)
        part = self._scan(each, dtype, start, stop, memory)
        return part if self._mask else Part(n, part.counts)

    def _counts(self, each: Match, dtype: torch.dtype, start: int, stop: int) -> Counts:
        """Bit for bit."""
        counts = Counts()
        while start < stop:
            places = self._places(each, start, dtype)
            found = tally_places(places, stop - start, dtype, self._blocks()) if places else Found(0, 0, 0, 0, 0)
            counts.add(Counts(found.visible, found.nonfinite))
            start += found.done
            if start < stop:
                size = min(BLOCK, stop - start)
                old, new = self._load(each, dtype, start, start + size)
                counts.add(count(old, new, dtype))
                start += size
        return counts

    def _scan(self, each: Match, dtype: torch.dtype, start: int, stop: int, memory: Bits) -> Part:
        """All that differs; and if a delta needs them, steps, and hashes of all blocks of the init and of the final."""
        n = stop - start
        levels = self._thresholds.levels(dtype)
        kept = n if levels is None else min(n, BLOCK)  # numbers: what is counted block by block stays in the cache
        room = Room.of(n, dtype, memory, self._buffer("numbers", numbers_bytes(kept, dtype)))
        steps = memory[bits_bytes(n) : part_bytes(n, dtype) if self._delta else bits_bytes(n)]
        digests = np.zeros((2, -(-n // BLOCK) if self._delta else 0, 2), np.uint64)
        done = moved = visible = nonfinite = stored = 0
        interrupted = False
        while done < n:
            size, places = n - done, self._places(each, start + done, dtype)
            if places is None or interrupted:
                # Raises what is wrong, unless it was no more than an interruption.
                size = min(BLOCK, size)
                self._load(each, dtype, start + done, start + done + size)
                places = IN_MEMORY, IN_MEMORY
            words, first = done * dtype.itemsize // VECTOR, moved if levels is None else 0
            rest = Room(room.differing[words:], room.visible[words:], room.old[first:], room.new[first:])
            old, new = digests[:, done // BLOCK :]
            into = Into(BLOCK, rest, steps[stored:], (old, new), levels)
            found = scan_places(places, size, dtype, self._blocks(), into)
            done, moved, stored = done + found.done, moved + found.moved, stored + found.stored
            visible, nonfinite = visible + found.visible, nonfinite + found.nonfinite
            interrupted = found.done < size
        bits = [packed.view(np.uint8)[: -(-n // 8)] for packed in (room.differing, room.visible)]
        if visible == moved:
            bits[1] = bits[0]  # no zero changed its sign; the cache has one of them then
        if levels is None:
            chunk = Chunk(dtype, bits[0], bits[1], room.old[:moved], room.new[:moved], visible, nonfinite)
            counts = chunk.counts(self._thresholds)
        else:
            counts = Counts.of(self._thresholds, levels, visible, nonfinite)
        if not self._delta:
            return Part(n, counts, bits[1], memory=memory)
        init, final = map(partial(_hashes, n * dtype.itemsize, BLOCK * dtype.itemsize), digests, self._blocks())
        return Part(n, counts, bits[1], bits[0], steps[:stored], init, final, memory)

    def _places(self, each: Match, start: int, dtype: torch.dtype) -> tuple[Place, Place] | None:
        """Where both are, if they can be compared as they are stored."""
        init, final = self._init.place(each.init, start, dtype), self._final.place(each.final, start, dtype)
        return None if init is None or final is None else (init, final)

    def _load(self, each: Match, dtype: torch.dtype, start: int, stop: int) -> list[npt.NDArray[Any]]:
        """Read no more than a block to the memory for blocks, converted to ``dtype``."""
        loaded = []
        for checkpoint, name, block in zip(
            (self._init, self._final), (each.init, each.final), self._blocks(), strict=True
        ):
            space = block.view(integer_type(dtype))[: stop - start]
            space[:] = checkpoint.read(name, start, stop, dtype, block)
            loaded.append(space)
        return loaded

    def _blocks(self) -> tuple[Bits, Bits]:
        # Of the widest dtype, and a vector.
        return self._buffer("init", 8 * BLOCK + VECTOR), self._buffer("final", 8 * BLOCK + VECTOR)

    def _buffer(self, name: str, nbytes: int) -> Bits:
        buffer: Bits | None = getattr(self._local, name, None)
        if buffer is None or buffer.size < nbytes:
            buffer = pages(nbytes)
            setattr(self._local, name, buffer)
        return buffer


def part_bytes(n: int, dtype: torch.dtype) -> int:
    """Bytes of memory for all that is found of ``n`` coordinates."""
    return bits_bytes(n) + stream_bytes(n, dtype.itemsize)


def _hashes(nbytes: int, size: int, digests: npt.NDArray[np.uint64], block: Bits) -> bytes:
    """The hashes of all blocks from their halves; of the last one, which is in ``block``, if it is short."""
    hashes, last = digests.astype(">u8").tobytes(), (nbytes - 1) % size + 1
    return hashes[:-16] + block_hash(block[:last]) if hashes and last <= SHORT else hashes
