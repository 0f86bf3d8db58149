"""Comparing two checkpoints part by part: memory is bounded whatever their size, and all cores work."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.match import Match, Skipped, match, why_no_delta
from subnetray.checkpoints.reader import Checkpoint
from subnetray.subnetwork.chunk import Counts, Thresholds, count, scan
from subnetray.subnetwork.hashing import BLOCK, block_hash, combined_hash, joined_hash
from subnetray.subnetwork.mask import pack
from subnetray.subnetwork.storage import Writer, stream
from subnetray.subnetwork.visible import Comparison, TensorComparison

# A thread takes several blocks at a time: what it does for each part then weighs little. A multiple of 8 coordinates,
# so that packed bits of parts join.
_PART = 8 * BLOCK
_AHEAD = 3  # parts in work a thread, so that none waits for the one that writes

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Difference:
    """What :func:`compare_checkpoints` found. ``delta`` says why no delta was written, or is None if one was.

    ``renamed`` holds, by the name in the comparison, what the final calls a tensor where that is another name.
    """

    comparison: Comparison
    skipped: tuple[Skipped, ...]
    bytes_read: int
    delta: str | None
    renamed: dict[str, str]


@dataclass(frozen=True, eq=False)
class _Part:
    """Some blocks of a tensor: counts, and what the files need of them."""

    n: int
    counts: Counts
    visible: list[npt.NDArray[np.uint8]] = field(default_factory=list)  # packed
    differing: list[npt.NDArray[np.uint8]] = field(default_factory=list)  # packed
    values: list[npt.NDArray[Any]] = field(default_factory=list)
    init: list[bytes] = field(default_factory=list)  # hashes of blocks
    final: list[bytes] = field(default_factory=list)


def compare_checkpoints(
    init: Checkpoint,
    final: Checkpoint,
    thresholds: Thresholds,
    dtype: torch.dtype | None,
    threads: int,
    out: Path | None = None,
    progress: Progress = lambda _: None,
) -> Difference:
    """Compare all that two checkpoints share, in ``dtype`` (None: that of each final tensor).

    With ``out``, writes ``mask.safetensors`` there, and ``delta.safetensors`` unless something was left out or rounded.
    ``progress`` is told how many coordinates are done. Raises ConfigError as :func:`match` does.
    """
    matches, skipped = match(init, final)
    compared = {each: dtype or final.tensors[each.final].dtype or torch.float32 for each in matches}
    # Wider values first: in the delta all are aligned then.
    compared = dict(sorted(compared.items(), key=lambda item: (-item[1].itemsize, item[0].name)))
    missing = why_no_delta(init, final, matches, skipped, compared)
    results = []
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        files = None if out is None else stack.enter_context(_files(out, compared, with_delta=missing is None))
        compare = _Comparer(
            init, final, thresholds, mask=files is not None, delta=files is not None and missing is None
        )
        for each, kind in compared.items():
            counts = Counts.none(thresholds)

            def work(start: int, each: Match = each, kind: torch.dtype = kind) -> _Part:
                return compare(each, kind, start)

            for part in _ahead(pool, work, range(0, each.n, _PART), threads * _AHEAD):
                counts.add(part.counts)
                if files is not None:
                    files.add(each.name, part)
                progress(part.n)
            if files is not None:
                files.end(each, kind)
            results.append(TensorComparison.of(each.name, each.shape, kind, counts))
        if files is not None:
            files.save()
    return Difference(
        Comparison(tuple(sorted(results, key=lambda tensor: tensor.name)), thresholds),
        tuple(skipped),
        sum(each.n * (init.tensors[each.init].itemsize + final.tensors[each.final].itemsize) for each in matches),
        missing,
        {each.name: each.final for each in matches if each.name != each.final},
    )


class _Comparer:
    """Compares parts of tensors, in any thread; each thread has buffers of its own that the next part is read into."""

    def __init__(self, init: Checkpoint, final: Checkpoint, thresholds: Thresholds, mask: bool, delta: bool) -> None:
        self._init, self._final, self._thresholds, self._mask, self._delta = init, final, thresholds, mask, delta
        self._local = threading.local()

    def __call__(self, each: Match, dtype: torch.dtype, start: int) -> _Part:
        """Compare the part that begins at coordinate ``start``."""
        part = _Part(min(_PART, each.n - start), Counts.none(self._thresholds))
        for begin in range(start, start + part.n, BLOCK):
            end = min(begin + BLOCK, start + part.n)
            old = self._init.read(each.init, begin, end, dtype, self._buffer("init"))
            new = self._final.read(each.final, begin, end, dtype, self._buffer("final"))
            if not self._mask and self._thresholds == Thresholds():
                part.counts.add(count(old, new, dtype))
                continue
            chunk = scan(old, new, dtype)
            part.counts.add(chunk.counts(self._thresholds))
            if self._mask:
                part.visible.append(pack(chunk.visible_mask))
            if self._delta:
                part.differing.append(pack(chunk.differing))
                part.values.append(chunk.new)
                part.init.append(block_hash(old))
                part.final.append(block_hash(new))
        return part

    def _buffer(self, side: str) -> npt.NDArray[np.uint8]:
        if not hasattr(self._local, side):
            setattr(self._local, side, np.empty(8 * BLOCK, np.uint8))
        buffer: npt.NDArray[np.uint8] = getattr(self._local, side)
        return buffer


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[int], _Part], starts: Sequence[int], ahead: int
) -> Iterator[_Part]:
    """Results in order, with a bounded number in work."""
    waiting: deque[Future[_Part]] = deque()
    for start in starts:
        waiting.append(pool.submit(work, start))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Files:
    """The mask and, if there is one, the delta, written as the parts come."""

    def __init__(self, mask: Writer, delta: Writer | None) -> None:
        self._mask, self._delta = mask, delta
        self._blocks: tuple[list[bytes], list[bytes]] = [], []
        self._hashes: tuple[dict[str, str], dict[str, str]] = {}, {}

    def add(self, name: str, part: _Part) -> None:
        """The next part of the tensor ``name``."""
        self._mask.append(name, _joined(part.visible))
        if self._delta is not None:
            self._delta.append(f"mask/{name}", _joined(part.differing))
            self._delta.append(f"values/{name}", _joined(part.values))
            for blocks, more in zip(self._blocks, (part.init, part.final), strict=True):
                blocks += more

    def end(self, each: Match, dtype: torch.dtype) -> None:
        """All parts of a tensor have been added."""
        for blocks, hashes in zip(self._blocks, self._hashes, strict=True):
            hashes[each.name] = joined_hash(blocks, dtype, each.shape)
            blocks.clear()

    def save(self) -> None:
        """All tensors have been added."""
        if self._delta is not None:
            for key, hashes in zip(("init_hash", "final_hash"), self._hashes, strict=True):
                self._delta.description[key] = combined_hash(hashes)


@contextmanager
def _files(out: Path, compared: Mapping[Match, torch.dtype], with_delta: bool) -> Iterator[_Files]:
    description: dict[str, Any] = {"shapes": {each.name: each.shape for each in compared}}
    packed = {each.name: -(-each.n // 8) for each in compared}
    with stream(out / "mask.safetensors", "mask", packed, {}, description) as mask:
        path = out / "delta.safetensors"
        if with_delta:
            description |= {"init_hash": combined_hash({}), "final_hash": combined_hash({})}
            masks = {f"mask/{name}": nbytes for name, nbytes in packed.items()}
            masks["padding"] = -sum(packed.values()) % 8
            values = {f"values/{each.name}": dtype for each, dtype in compared.items()}
            with stream(path, "delta", masks, values, description) as delta:
                delta.append("padding", np.zeros(masks["padding"], np.uint8))
                yield _Files(mask, delta)
        else:
            yield _Files(mask, None)
            # A delta of an earlier comparison does not outlive its mask.
            path.unlink(missing_ok=True)


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
