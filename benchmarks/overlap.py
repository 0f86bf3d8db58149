"""How fast all pairs of masks are counted against the ULP-stratified null, beside counting each pair by itself.

    python benchmarks/overlap.py [masks, default 32] [millions of coordinates, default 16]

Both give the 2×2 table of every stratum of every pair, on one core, in turn, three times; medians are printed. The one
by hand takes a few pairs only, and its time is scaled to all of them. Speed: pairs × bytes of both masks / seconds.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import numpy.typing as npt
import torch

from subnetray.subnetwork import Mask, pair_counts, ulp_strata

ROUNDS = 3
TENSORS = 4
FEW = 4  # pairs counted by hand


def naive(ids: dict[str, npt.NDArray[np.int64]], one: Mask, two: Mask) -> float:
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


def main() -> None:
    """Print a line a contestant."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    size = int(float(sys.argv[2]) * 1e6) // TENSORS if len(sys.argv) > 2 else 16_000_000 // TENSORS
    generator = torch.Generator().manual_seed(0)
    init = {str(i): (0.02 * torch.randn(size, generator=generator)).bfloat16() for i in range(TENSORS)}
    masks = [
        Mask.from_bools({name: torch.rand(size, generator=generator) < 0.2 for name in init}) for _ in range(count)
    ]
    strata = ulp_strata(init)
    wide = {name: ids.astype(np.int64) for name, ids in strata.ids.items()}
    seconds: dict[str, list[float]] = {"all pairs at once": [], "one new mask": [], "pair by pair, by hand": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        counts = pair_counts(strata, masks, masks)
        seconds["all pairs at once"].append((time.perf_counter() - start) / count**2)
        start = time.perf_counter()
        pair_counts(strata, masks, masks[:1])
        seconds["one new mask"].append((time.perf_counter() - start) / count)
        start = time.perf_counter()
        by_hand = [naive(wide, masks[0], masks[1 + index]) for index in range(FEW)]
        seconds["pair by pair, by hand"].append((time.perf_counter() - start) / FEW)
        assert np.allclose(by_hand, counts.odds_ratio[0, 1 : 1 + FEW])
    base = statistics.median(seconds["pair by pair, by hand"])
    for name, values in seconds.items():
        median = statistics.median(values)
        speed = 2 * TENSORS * size / 8 / median / 1e9
        print(f"{name:24} {1e3 * median:9.3f} ms a pair  {speed:7.3f} GB/s  {base / median:7.1f} × by hand")


if __name__ == "__main__":
    main()
