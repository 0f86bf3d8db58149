"""How fast pairs of masks are counted, plainly and against the ULP-stratified null, beside what numpy does.

    python benchmarks/overlap.py [masks, default 32] [millions of coordinates, default 100]

On one core, in turn, three times; medians of CPU time are printed. Speed: pairs × bytes of both masks / seconds, each
pair of two masks counted once. All pairs: of the masks with each other; a new mask: with each of the others, as a
sweep's driver does when a run finishes. By numpy: AND and population count of blocks that stay in the cache. Histograms
of stratum × cell: what one writes by hand. Last, the whole table of a sweep of small runs, with reading their files,
with and without the joint null, which is fitted once a run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from subnetray.driver.pairs import Finished, Pairs
from subnetray.nulls import NULLS, Joint
from subnetray.subnetwork import Delta, Mask, pair_counts, tensor_strata, ulp_strata
from subnetray.subnetwork.bits import exponents

ROUNDS = 3
TENSORS = 4
FEW = 2  # pairs of which a histogram is made
BLOCK = 1 << 14  # bytes


def by_numpy(one: Mask, two: Mask) -> int:
    """What numpy's fastest way counts of a pair: k12."""
    total = 0
    for name, bits in one.bits.items():
        left, right = bits[: bits.size // 8 * 8].view(np.uint64), two.bits[name][: bits.size // 8 * 8].view(np.uint64)
        for start in range(0, left.size, BLOCK):
            total += int(np.bitwise_count(left[start : start + BLOCK] & right[start : start + BLOCK]).sum())
    return total


def by_histogram(ids: dict[str, npt.NDArray[np.int64]], one: Mask, two: Mask) -> float:
    """What one writes by hand: unpack both, and a histogram of stratum × cell; returns the odds ratio."""
    concordant = discordant = 0.0
    for name, stratum in ids.items():
        cell = one.flat(name) * 2 + two.flat(name)
        size = int(stratum.max()) + 1
        table = np.bincount(stratum * 4 + cell, minlength=4 * size).reshape(size, 4).astype(float)
        n = np.maximum(table.sum(axis=1), 1)
        concordant += float((table[:, 0] * table[:, 3] / n).sum())
        discordant += float((table[:, 1] * table[:, 2] / n).sum())
    return concordant / discordant


def sweep(runs: int, directory: Path) -> tuple[int, float]:
    """Coordinates of a run, and seconds for the overlaps of a sweep of so many."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(64, 96), *4 * (4 * [(96, 96)] + 3 * [(256, 96)] + 2 * [(96,)])]
    init = {str(i): (0.05 * torch.randn(shape, generator=generator)).bfloat16() for i, shape in enumerate(shapes)}
    save_file(init, directory / "model.safetensors")
    for run in range(runs):
        scale = 10 ** float(torch.empty(1).uniform_(-5, -3.5, generator=generator))
        final = {name: t + scale * torch.randn(t.shape, generator=generator) for name, t in init.items()}
        final = {name: tensor.bfloat16() for name, tensor in final.items()}
        Mask.between(init, final).save(directory / f"{run}-mask", {})
        Delta.between(init, final).save(directory / f"{run}-delta")
    for count in (2, runs):  # compiled before the clock starts
        pairs = Pairs([str(run) for run in range(count)])
        start = time.process_time()
        for run in range(count):
            pairs.add(Finished(str(run), directory / f"{run}-mask", directory / f"{run}-delta", directory, (str(run),)))
        seconds = time.process_time() - start
    return pairs.rows[0]["n"], seconds


def main() -> None:
    """Print a line a contestant."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    size = int(float(sys.argv[2]) * 1e6 if len(sys.argv) > 2 else 1e8) // TENSORS // 64 * 64
    generator = torch.Generator().manual_seed(0)
    init = {str(i): (0.02 * torch.randn(size, generator=generator)).bfloat16() for i in range(TENSORS)}
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(count):  # of density 1/4
        bits = {name: np.frombuffer(rng.bytes(size // 8), np.uint8) for name in init}
        bits = {name: part & np.frombuffer(rng.bytes(size // 8), np.uint8) for name, part in bits.items()}
        masks.append(Mask(bits, dict.fromkeys(init, (size,))))
    pairs = count * (count - 1) // 2
    seconds: dict[str, list[float]] = {}

    def timed(name: str, scale: float, action: Callable[[], object]) -> None:
        start = time.process_time()
        action()
        seconds.setdefault(name, []).append((time.process_time() - start) / scale)

    # Compiled before the clock starts.
    small = {"a": torch.tensor([1.0, 8.0])}
    for made in (ulp_strata(small), tensor_strata(Mask.from_bools({"a": torch.ones(2, dtype=torch.bool)}))):
        tiny = made.arrange(Mask.from_bools({"a": torch.ones(2, dtype=torch.bool)}))
        pair_counts([tiny], [tiny])
    start = time.process_time()
    strata = ulp_strata(init)
    print(f"strata of {TENSORS * size / 1e6:.0f} M coordinates: {time.process_time() - start:.2f} s, once an init")
    ids = {name: exponents(tensor).astype(np.int64) for name, tensor in init.items()}
    whole = tensor_strata(masks[0])
    plain = [whole.arrange(mask) for mask in masks]
    arranged = [strata.arrange(mask) for mask in masks]
    for _ in range(ROUNDS):
        timed("plain, a new mask, by numpy", count - 1, lambda: [by_numpy(masks[0], each) for each in masks[1:]])
        timed("plain, a new mask", count - 1, lambda: pair_counts(plain[1:], plain[:1]))
        timed("plain, all pairs", pairs, lambda: pair_counts(plain, plain))
        timed("stratified, histograms", FEW, lambda: [by_histogram(ids, masks[0], each) for each in masks[1 : 1 + FEW]])
        timed(
            "stratified, a new mask, with arranging it",
            count - 1,
            lambda: pair_counts(arranged[1:], [strata.arrange(masks[0])]),
        )
        timed("stratified, all pairs", pairs, lambda: pair_counts(arranged, arranged))

        def together() -> None:
            every = [strata.arrange(mask) for mask in masks]
            pair_counts(every, every)

        timed("stratified, all pairs, with arranging all", pairs, together)
    odds = pair_counts(arranged, arranged).stratified.odds_ratio[0, 1]
    assert np.isclose(by_histogram(ids, masks[0], masks[1]), odds)
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:42} {1e3 * median:9.3f} ms a pair  {2 * TENSORS * size / 8 / median / 1e9:7.2f} GB/s")
    tables()


def tables(runs: int = 60) -> None:
    """Print a line for all columns of a sweep's pairs, with and without the joint null."""
    with tempfile.TemporaryDirectory() as directory:
        n, total = sweep(runs, Path(directory))
        null = NULLS.pop(Joint.name)
        _, without = sweep(runs, Path(directory))
        NULLS[Joint.name] = null
    pairs = runs * (runs - 1) // 2
    print(f"all columns of the {pairs} pairs of {runs} runs of {n / 1e6:.2f} M coordinates: {total:.2f} s")
    print(f"the same without the joint null: {without:.2f} s; with it {total / without:.2f} times that")


if __name__ == "__main__":
    main()
