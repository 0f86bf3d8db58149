"""Comparing two checkpoints part by part: memory is bounded whatever their size, and all cores work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from subnetray.checkpoints.match import Coverage, Match, Matching, Skipped, why_no_delta
from subnetray.checkpoints.part import Comparer, Part, part_bytes
from subnetray.subnetwork.counting import Counts, Thresholds
from subnetray.subnetwork.delta import describe
from subnetray.subnetwork.files.container import Layout, Writer, stream
from subnetray.subnetwork.files.memory import pages
from subnetray.subnetwork.hashing import BLOCK, combined_hash, joined_hash
from subnetray.subnetwork.mask import Bits
from subnetray.subnetwork.visible import Comparison, TensorComparison

# A thread takes several blocks at a time: what it does for each part then weighs little. A multiple of 8 coordinates,
# so that packed bits of parts join.
PART = 16 * BLOCK
_COUNTED = 64 * BLOCK  # where nothing but a few numbers comes of a part
_AHEAD = 2  # parts in work a thread, so that none waits for the one that writes

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
    coverage: Coverage
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """A comparison is worked through in this way.

    ``threads`` parts of ``part`` coordinates (a multiple of a block; None: as many as are fastest) are compared at
    once, in threads of this process or, if there is one, by ``executor``. ``progress`` is told how many are done.
    """

    threads: int
    executor: Executor | None = None
    part: int | None = None
    progress: Progress = lambda _: None


def compare_checkpoints(
    matching: Matching,
    thresholds: Thresholds,
    dtype: torch.dtype | None,
    work: Work,
    out: Path | None = None,
) -> Difference:
    """Compare all that two checkpoints share, in ``dtype`` (None: that of each final tensor).

    With ``out``, writes ``mask.safetensors`` there, and ``delta.safetensors`` unless something was left out or rounded.
    Raises ConfigError for files that end too early.
    """
    init, final, matches = matching.init, matching.final, matching.matches
    compared = {each: matching.dtype(each, dtype) for each in matches}
    missing = why_no_delta(matching, compared)
    counts = {each: Counts.none(thresholds) for each in compared}
    threads, executor = work.threads, work.executor
    part = work.part or (_COUNTED if out is None and thresholds == Thresholds() else PART)
    with ExitStack() as stack:
        # This thread is one of those that compare: what it adds to the files comes from its own cache then.
        pool = executor or stack.enter_context(ThreadPoolExecutor(max(1, threads - 1)))
        files = None if out is None else stack.enter_context(_files(out, compared, with_delta=missing is None))
        compare = Comparer(init, final, thresholds, mask=files is not None, delta=files is not None and missing is None)
        # What is found in this process lies in memory that is used again and again: new memory costs time.
        nbytes = max(part_bytes(min(each.n, part), kind) for each, kind in compared.items())
        rooms: list[Bits] = []

        def call(task: _Task) -> Callable[[], Part]:
            room = None if executor or not files else rooms.pop() if rooms else pages(nbytes)
            return partial(compare, task.match, compared[task.match], task.start, task.stop, room)

        calls = ((task, call(task)) for task in _tasks(compared, part))
        for task, found in _ahead(pool, calls, threads * _AHEAD, helping=executor is None and threads > 1):
            counts[task.match].add(found.counts)
            if files is not None:
                files.add(task.match.name, found)
                if task.stop == task.match.n:
                    files.end(task.match, compared[task.match])
                if found.memory is not None:
                    rooms.append(found.memory)
            work.progress(found.n)
        if files is not None:
            files.save()
    tensors = [TensorComparison.of(each.name, each.shape, compared[each], counts[each]) for each in matches]
    return Difference(
        Comparison(tuple(tensors), thresholds),
        matching.skipped,
        sum(each.n * (init.tensor(each.init).itemsize + final.tensor(each.final).itemsize) for each in matches),
        missing,
        {each.name: each.final for each in matches if each.name != each.final},
        matching.coverage,
        init.notes + final.notes,
    )


@dataclass(frozen=True)
class _Task:
    match: Match
    start: int
    stop: int


def _tasks(matches: Iterable[Match], part: int) -> Iterator[_Task]:
    for each in matches:
        # A tensor without coordinates has one part without any.
        for start in range(0, max(each.n, 1), part):
            yield _Task(each, start, min(start + part, each.n))


@dataclass
class _Waiting:
    task: _Task
    call: Callable[[], Part]
    found: Future[Part]


def _ahead(
    pool: Executor, calls: Iterable[tuple[_Task, Callable[[], Part]]], ahead: int, helping: bool
) -> Iterator[tuple[_Task, Part]]:
    """Results in order, with a bounded number in work; ``helping``: this thread works too while there are none."""
    waiting: deque[_Waiting] = deque()

    def first() -> tuple[_Task, Part]:
        while helping and not waiting[0].found.done():
            # What no other thread has begun.
            mine = next((each for each in waiting if each.found.cancel()), None)
            if mine is None:
                break
            mine.found = Future()
            mine.found.set_result(mine.call())
        each = waiting.popleft()
        return each.task, each.found.result()

    for task, call in calls:
        waiting.append(_Waiting(task, call, pool.submit(call)))
        if len(waiting) >= ahead:
            yield first()
    while waiting:
        yield first()


class _Files:
    """The mask and, if there is one, the delta, written as the parts come."""

    def __init__(self, mask: Writer, delta: Writer | None) -> None:
        self._mask, self._delta = mask, delta
        self._blocks: tuple[list[bytes], list[bytes]] = [], []
        self._hashes: tuple[dict[str, str], dict[str, str]] = {}, {}

    def add(self, name: str, part: Part) -> None:
        """The next part of the tensor ``name``."""
        self._mask.append(name, part.visible)
        if self._delta is not None:
            self._delta.append(f"mask/{name}", part.differing)
            self._delta.append(f"steps/{name}", part.steps)
            for blocks, more in zip(self._blocks, (part.init, part.final), strict=True):
                blocks.append(more)

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
    shapes = {each.name: each.shape for each in compared}
    packed = {each.name: -(-each.n // 8) for each in compared}
    # Two threads for both files: while one waits for a core, the disk has what the other gave it.
    with (
        ThreadPoolExecutor(2) as threads,
        stream(out / "mask.safetensors", "mask", Layout(packed, {}), {"shapes": shapes}, threads) as mask,
    ):
        path = out / "delta.safetensors"
        if with_delta:
            unknown = combined_hash({})  # as long as those that take its place
            description = describe(unknown, unknown, shapes, {each.name: dtype for each, dtype in compared.items()})
            masks = {f"mask/{name}": nbytes for name, nbytes in packed.items()}
            steps = {f"steps/{name}": torch.uint8 for name in shapes}
            with stream(path, "delta", Layout(masks, steps), description, threads) as delta:
                yield _Files(mask, delta)
        else:
            yield _Files(mask, None)
            # A delta of an earlier comparison does not outlive its mask.
            path.unlink(missing_ok=True)
