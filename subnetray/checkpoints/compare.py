"""Comparing two checkpoints chunk by chunk: memory is bounded whatever their size, and all cores work."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from subnetray.checkpoints.match import Match, Skipped, match, why_no_delta
from subnetray.checkpoints.reader import Checkpoint
from subnetray.subnetwork.storage import Part, assemble
from subnetray.subnetwork.visible import (
    Comparison,
    TensorComparison,
    chunk_counts,
    count_nonfinite,
    count_visible,
)
from subnetray.subnetwork.weights import layer_index, module_kind

_CHUNK = 1 << 20  # coordinates at a time: a multiple of 8, so that packed bits of chunks join
_AHEAD = 3  # chunks in work a thread, so that none waits for the one that writes

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


@dataclass(frozen=True)
class _Chunk:
    changed: int
    beyond: dict[float, int]
    nonfinite: int
    init: npt.NDArray[Any]
    final: npt.NDArray[Any]
    visible: npt.NDArray[np.uint8]
    differing: npt.NDArray[np.uint8]
    values: npt.NDArray[Any]


def compare_checkpoints(
    init: Checkpoint,
    final: Checkpoint,
    tolerances: Sequence[float],
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
    taus = tuple(float(tau) for tau in tolerances)
    compared = {each: dtype or final.tensors[each.final].dtype or torch.float32 for each in matches}
    missing = why_no_delta(init, final, matches, skipped, compared)
    read = 0
    results = []
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        writer = None if out is None else stack.enter_context(_Writer(out, with_delta=missing is None))
        for each in matches:
            kind = compared[each]
            changed = nonfinite = 0
            beyond = dict.fromkeys(taus, 0)
            if writer is not None:
                writer.begin(each, kind)

            def work(start: int, each: Match = each, kind: torch.dtype = kind) -> _Chunk:
                stop = min(start + _CHUNK, each.n)
                old = init.read(each.init, start, stop, kind)
                new = final.read(each.final, start, stop, kind)
                return _compare(old, new, kind, taus, keep=writer is not None)

            for chunk in _ahead(pool, work, range(0, each.n, _CHUNK), threads * _AHEAD):
                changed += chunk.changed
                nonfinite += chunk.nonfinite
                for tau, count in chunk.beyond.items():
                    beyond[tau] += count
                if writer is not None:
                    writer.add(chunk)
                progress(chunk.init.size)
            for side, name in ((init, each.init), (final, each.final)):
                read += each.n * side.tensors[name].itemsize
            results.append(
                TensorComparison(
                    name=each.name,
                    shape=each.shape,
                    dtype=str(kind).removeprefix("torch."),
                    n=each.n,
                    changed_bitwise=changed,
                    changed_abs=beyond,
                    nonfinite=nonfinite,
                    layer=layer_index(each.name),
                    module=module_kind(each.name),
                )
            )
        if writer is not None:
            writer.save()
    renamed = {each.name: each.final for each in matches if each.name != each.final}
    return Difference(Comparison(tuple(results), taus), tuple(skipped), read, missing, renamed)


def _compare(
    old: npt.NDArray[Any], new: npt.NDArray[Any], dtype: torch.dtype, taus: tuple[float, ...], keep: bool
) -> _Chunk:
    nothing = np.empty(0, np.uint8)
    if not keep and not taus:
        return _Chunk(
            count_visible(old, new), {}, count_nonfinite(old, new, dtype), old, new, nothing, nothing, nothing
        )
    positions, visible, beyond, nonfinite = chunk_counts(old, new, dtype, taus)
    if not keep:
        return _Chunk(visible.size, beyond, nonfinite, old, new, nothing, nothing, nothing)
    differing = np.packbits(old != new, bitorder="little")
    if visible.size == positions.size:
        seen = differing
    else:
        marks = np.zeros(old.size, np.bool_)
        marks[visible] = True
        seen = np.packbits(marks, bitorder="little")
    return _Chunk(visible.size, beyond, nonfinite, old, new, seen, differing, new.take(positions))


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[int], _Chunk], starts: Sequence[int], ahead: int
) -> Iterator[_Chunk]:
    """Results in order, with a bounded number in work."""
    waiting: deque[Future[_Chunk]] = deque()
    for start in starts:
        waiting.append(pool.submit(work, start))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Writer:
    """Spools mask, positions and values to temporary files, then puts the results together.

    How many values there are is known only at the end, and the formats begin with their sizes.
    """

    def __init__(self, out: Path, with_delta: bool) -> None:
        self._out, self._with_delta = out, with_delta
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._parts: dict[str, list[Part]] = {"visible": [], "differing": [], "values": []}
        self._init, self._final = hashlib.sha256(), hashlib.sha256()

    def __enter__(self) -> _Writer:
        # Beside the results: a temporary directory elsewhere may be small, or memory.
        self._out.mkdir(parents=True, exist_ok=True)
        self._directory = TemporaryDirectory(prefix=".spool-", dir=self._out)
        self._files: dict[str, BinaryIO] = {
            kind: (Path(self._directory.name) / kind).open("w+b") for kind in self._parts
        }
        # Hashing a side is sequential by nature; both sides at once, beside the counting.
        self._hashers = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]
        return self

    def __exit__(self, *_: object) -> None:
        for hasher in self._hashers:
            hasher.shutdown()
        for file in self._files.values():
            file.close()
        self._directory.cleanup()

    def begin(self, each: Match, dtype: torch.dtype) -> None:
        """A tensor's chunks follow, in order."""
        self._shapes[each.name] = each.shape
        names = {"visible": each.name, "differing": f"mask/{each.name}", "values": f"values/{each.name}"}
        for kind, name in names.items():
            self._parts[kind].append(
                Part(name, dtype if kind == "values" else torch.uint8, self._files[kind].tell(), 0, 0)
            )
        if self._with_delta:
            line = json.dumps([each.name, str(dtype), list(each.shape)]).encode() + b"\n"
            for hasher, digest in zip(self._hashers, (self._init, self._final), strict=True):
                hasher.submit(digest.update, line)

    def add(self, chunk: _Chunk) -> None:
        """The next chunk of the tensor that was begun."""
        self._append("visible", chunk.visible)
        if self._with_delta:
            self._append("differing", chunk.differing)
            self._append("values", chunk.values)
            done = [
                hasher.submit(digest.update, bits.data)
                for hasher, digest, bits in zip(
                    self._hashers, (self._init, self._final), (chunk.init, chunk.final), strict=True
                )
            ]
            for each in done:
                each.result()

    def save(self) -> None:
        """Write the files, each atomically; a delta of an earlier comparison does not outlive its mask."""
        delta = self._out / "delta.safetensors"
        delta.unlink(missing_ok=True)
        description: dict[str, Any] = {"shapes": self._shapes}
        assemble(self._out / "mask.safetensors", "mask", self._files, {"visible": self._parts["visible"]}, description)
        if self._with_delta:
            for hasher in self._hashers:
                hasher.shutdown()
            hashes = {"init_hash": self._init.hexdigest(), "final_hash": self._final.hexdigest()}
            parts = {"values": self._parts["values"], "differing": self._parts["differing"]}
            assemble(delta, "delta", self._files, parts, hashes | description)

    def _append(self, kind: str, array: npt.NDArray[Any]) -> None:
        part = self._parts[kind][-1]
        data = array.view(np.uint8).data if array.size else b""
        self._files[kind].write(data)
        self._parts[kind][-1] = Part(
            part.name, part.dtype, part.offset, part.nbytes + len(data), zlib.crc32(data, part.checksum)
        )
