"""How large deltas are and how fast they are made, written, read and applied, against copying the same memory.

    python benchmarks/delta.py [millions of coordinates, default 64]

A bf16 init of normal weights and finals at three densities, on one core. All in turn, three times; medians. Speeds are
bytes of one set of weights by seconds; writing and reading are compared with writing and reading a file of the delta's
size. Hashing is part of making and applying: it is what refuses a wrong init.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from subnetray.subnetwork import Delta, weights_hash

ROUNDS = 3
DENSITIES = (0.2, 0.05, 0.01)
TENSORS = 4


def write(path: Path, nbytes: int) -> None:
    """A file of so many bytes, synced."""
    with path.open("wb", buffering=0) as file:
        file.write(bytes(nbytes))
        os.fsync(file.fileno())


def contestants_of(
    init: dict[str, torch.Tensor], final: dict[str, torch.Tensor], delta: Delta, path: Path
) -> dict[str, Callable[[], object]]:
    """What is timed, by name; ``path`` holds the delta."""
    plain, stored = path.with_name("plain"), path.stat().st_size
    return {
        "copy the weights": lambda: {key: tensor.clone() for key, tensor in init.items()},
        "make the delta": lambda: Delta.between(init, final),
        "apply it, init checked": lambda: delta.apply(init),
        "hash the weights": lambda: weights_hash(init),
        "write as many bytes": lambda: write(plain, stored),
        "write the delta": lambda: delta.save(path),
        "read as many bytes": lambda: plain.read_bytes(),
        "read the delta, checked": lambda: Delta.load(path),
    }


def main() -> None:
    """Print a line a contestant."""
    torch.set_num_threads(1)
    size = int(float(sys.argv[1]) * 1e6) // TENSORS if len(sys.argv) > 1 else 64_000_000 // TENSORS
    generator = torch.Generator().manual_seed(0)
    init = {f"layers.{i}.x": (0.02 * torch.randn(size, generator=generator)).bfloat16() for i in range(TENSORS)}
    nbytes = 2 * size * TENSORS
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for density in DENSITIES:
            final = {
                key: torch.where(torch.rand(size, generator=generator) < density, t * 1.01, t).bfloat16()
                for key, t in init.items()
            }
            delta = Delta.between(init, final)
            path = directory / "delta.safetensors"
            delta.save(path)
            stored = path.stat().st_size
            bound = size * TENSORS / 8 + 2.1 * delta.mask.k
            contestants = contestants_of(init, final, delta, path)
            seconds: dict[str, list[float]] = {key: [] for key in contestants}
            for _ in range(ROUNDS):
                for key, run in contestants.items():
                    start = time.perf_counter()
                    run()
                    seconds[key].append(time.perf_counter() - start)
            assert weights_hash(delta.apply(init)) == weights_hash(final)
            share = delta.mask.k / (size * TENSORS)
            print(
                f"density {share:.1%}: {stored / 1e6:.1f} MB, {stored / nbytes:.1%} of the weights,"
                f" {stored / bound:.1%} of n/8 + 2.1 × changed"
            )
            for key, values in seconds.items():
                median = statistics.median(values)
                base = "copy the weights" if key in list(contestants)[:4] else f"{key.split()[0]} as many bytes"
                ratio = median / statistics.median(seconds[base])
                print(
                    f"  {key:24} {median:7.3f} s  {nbytes / median / 1e9:6.2f} GB/s of weights  {ratio:6.2f} × {base}"
                )


if __name__ == "__main__":
    main()
