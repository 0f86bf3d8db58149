"""Comparing one part of a tensor: what a thread, or a process of a cluster, does on its own."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.match import Match
from subnetray.checkpoints.reader import Checkpoint
from subnetray.subnetwork.chunk import Counts, Thresholds, count, scan
from subnetray.subnetwork.hashing import BLOCK, block_hash
from subnetray.subnetwork.kernels import Room, tally_files
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
    values: npt.NDArray[Any] = field(default_factory=_nothing)
    init: tuple[bytes, ...] = ()  # hashes of blocks
    final: tuple[bytes, ...] = ()


class Comparer:
    """Compares parts of tensors, in any thread; each thread has buffers of its own that blocks are read into."""

    def __init__(self, init: Checkpoint, final: Checkpoint, thresholds: Thresholds, mask: bool, delta: bool) -> None:
        self._init, self._final, self._thresholds, self._mask, self._delta = init, final, thresholds, mask, delta
        self._local = threading.local()

    def __reduce__(self) -> Any:
        return Comparer, (self._init, self._final, self._thresholds, self._mask, self._delta)

    def __call__(self, each: Match, dtype: torch.dtype, start: int, stop: int) -> Part:
        """Compare the coordinates ``start`` to ``stop``, in ``dtype``."""
        n = stop - start
        if not self._mask:
            return Part(n, self._counts(each, dtype, start, stop))
        counts, inits, finals, moved = Counts.none(self._thresholds), [], [], 0
        room = rest = Room.of(n, dtype)
        for begin in range(start, stop, BLOCK):
            old, new = self._blocks(each, dtype, begin, min(begin + BLOCK, stop))
            if self._delta:
                inits.append(block_hash(old))
                finals.append(block_hash(new))
            chunk = scan(old, new, dtype, rest)
            counts.add(chunk.counts(self._thresholds))
            moved += chunk.new.size
            rest = rest.after(old.size, chunk.new.size)
        visible, differing = (bits.view(np.uint8)[: -(-n // 8)] for bits in (room.visible, room.differing))
        if not self._delta:
            return Part(n, counts, visible)
        return Part(n, counts, visible, differing, room.new[:moved], tuple(inits), tuple(finals))

    def _counts(self, each: Match, dtype: torch.dtype, start: int, stop: int) -> Counts:
        """Bit for bit, straight from the files; by blocks in memory else, or where a read does not succeed."""
        counts = Counts.none(self._thresholds)
        bitwise = self._thresholds == Thresholds()
        while start < stop:
            if bitwise:
                found, done = self._stored_counts(each, dtype, start, stop)
                counts.add(found)
                start += done
                if start == stop:
                    break
            end = min(start + BLOCK, stop)
            old, new = self._blocks(each, dtype, start, end)
            counts.add(count(old, new, dtype) if bitwise else scan(old, new, dtype).counts(self._thresholds))
            start = end
        return counts

    def _stored_counts(self, each: Match, dtype: torch.dtype, start: int, stop: int) -> tuple[Counts, int]:
        """The counts of as many coordinates, from ``start`` on, as files hold in ``dtype`` and give when asked once."""
        init, final = self._init.place(each.init, dtype), self._final.place(each.final, dtype)
        if init is None or final is None:
            return Counts(), 0
        one, two = ((file, offset + start * dtype.itemsize) for file, offset in (init, final))
        visible, nonfinite, done = tally_files(one, two, stop - start, dtype, self._buffer("init"))
        return Counts(visible, nonfinite), done

    def _blocks(
        self, each: Match, dtype: torch.dtype, start: int, stop: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return (
            self._init.read(each.init, start, stop, dtype, self._buffer("init")),
            self._final.read(each.final, start, stop, dtype, self._buffer("final")),
        )

    def _buffer(self, side: str) -> npt.NDArray[np.uint8]:
        if not hasattr(self._local, side):
            setattr(self._local, side, np.empty(8 * BLOCK, np.uint8))
        buffer: npt.NDArray[np.uint8] = getattr(self._local, side)
        return buffer
