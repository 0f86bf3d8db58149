"""What an optimizer costs that trains a subnetwork only: memory it keeps, and the time of its step.

    python benchmarks/restriction.py [millions of weights, default 135]

AdamW with fp32 weights, which are random, and random masks. Memory is what the process has gained between steps, beside
the weights; the step includes clipping. Each line is a process of its own, on one core; medians.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time

import psutil
import torch
from torch.multiprocessing import get_context

from subnetray.subnetwork import arms
from subnetray.subnetwork.restriction import Restriction

ROUNDS = 5
DENSITIES = (None, 0.3, 0.1, 0.01)
WIDTH = 1000


def measure(millions: int, density: float | None) -> tuple[float, float]:
    """MB gained and seconds a step, of all weights where there is no density."""
    torch.set_num_threads(1)
    weights = {f"{index}": torch.nn.Parameter(torch.randn(WIDTH, WIDTH)) for index in range(millions)}
    gradient = torch.randn(WIDTH, WIDTH)
    torch.optim.AdamW([torch.nn.Parameter(gradient.clone())]).step()  # what is imported by then is no part of it
    before = held()
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-3, fused=True)
    if density is not None:
        shapes = {name: tuple(each.shape) for name, each in weights.items()}
        mask = arms.random(shapes, round(density * millions * WIDTH**2), seed=0)
        Restriction(weights, mask, max_norm=1.0).attach(optimizer)
    seconds = []
    for _ in range(ROUNDS):
        for each in weights.values():
            each.grad = gradient.clone()
        start = time.perf_counter()
        if density is None:
            torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        for each in weights.values():
            each.grad = None
        optimizer.zero_grad()
    return (held() - before) / 1e6, statistics.median(seconds)


def held() -> int:
    """Bytes of memory that the process has, once the allocator has given back what is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def main() -> None:
    millions = int(sys.argv[1]) if len(sys.argv) > 1 else 135
    for density in DENSITIES:
        with get_context("spawn").Pool(1) as pool:
            memory, seconds = pool.apply(measure, (millions, density))
        what = "all weights" if density is None else f"density {density:.0%}"
        print(
            f"{what:14} {memory:8.0f} MB  {memory / millions:6.2f} bytes a weight  {seconds:7.3f} s a step", flush=True
        )


if __name__ == "__main__":
    main()
