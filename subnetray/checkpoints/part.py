"""Comparing one part of a tensor: what a thread, or a process of a cluster, does on its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.match import Match
from subnetray.checkpoints.reader import Checkpoint
from subnetray.subnetwork.chunk import Counts, Thresholds, count, scan
from subnetray.subnetwork.hashing import BLOCK, block_hash
from subnetray.subnetwork.mask import Bits, pack


@dataclass(frozen=True, eq=False)
class Part:
    """Some blocks of a tensor: counts, and what the mask (``visible``) and the delta (all else) need of them."""

    n: int
    counts: Counts
    visible: Bits  # packed
    differing: Bits  # packed
    values: npt.NDArray[Any]
    init: tuple[bytes, ...]  # hashes of blocks
    final: tuple[bytes, ...]


class Comparer:
    """Compares parts of tensors, in any thread; each thread has buffers of its own that blocks are read into."""

    def __init__(self, init: Checkpoint, final: Checkpoint, thresholds: Thresholds, mask: bool, delta: bool) -> None:
        self._init, self._final, self._thresholds, self._mask, self._delta = init, final, thresholds, mask, delta
        self._local = threading.local()

    def __reduce__(self) -> Any:
        return Comparer, (self._init, self._final, self._thresholds, self._mask, self._delta)

    def __call__(self, each: Match, dtype: torch.dtype, start: int, stop: int) -> Part:
        """Compare the coordinates ``start`` to ``stop``, in ``dtype``."""
        counts = Counts.none(self._thresholds)
        visible, differing, values, inits, finals = [], [], [], [], []
        for begin in range(start, stop, BLOCK):
            end = min(begin + BLOCK, stop)
            old = self._init.read(each.init, begin, end, dtype, self._buffer("init"))
            new = self._final.read(each.final, begin, end, dtype, self._buffer("final"))
            if not self._mask and self._thresholds == Thresholds():
                counts.add(count(old, new, dtype))
                continue
            chunk = scan(old, new, dtype)
            counts.add(chunk.counts(self._thresholds))
            if self._mask:
                visible.append(pack(chunk.visible_mask))
            if self._delta:
                differing.append(pack(chunk.differing))
                values.append(chunk.new)
                inits.append(block_hash(old))
                finals.append(block_hash(new))
        joined = (_joined(visible), _joined(differing), _joined(values))
        return Part(stop - start, counts, *joined, tuple(inits), tuple(finals))

    def _buffer(self, side: str) -> npt.NDArray[np.uint8]:
        if not hasattr(self._local, side):
            setattr(self._local, side, np.empty(8 * BLOCK, np.uint8))
        buffer: npt.NDArray[np.uint8] = getattr(self._local, side)
        return buffer


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.uint8)
