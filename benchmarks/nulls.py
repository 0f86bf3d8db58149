"""Measure what nulls leave of the overlap of runs that share nothing but known scales of rows and columns.

    PYTHONPATH=. python benchmarks/nulls.py [masks of each world, default 6]

Points of o1: what runs truly share by chance, minus what a null expects of them, as a share of what one changed;
positive: an overlap that the null does not explain; negative: it takes too much. Matrices have 320 × 256 coordinates,
each 0.05 times a normal number in bf16; rows and columns have log-normal scales of the standard deviation given, the
same in all runs. Laws of updates: see ``tests/subnetwork/overlap/worlds.py``. Second table: noise on inits that are
stored in other formats.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from subnetray.subnetwork import joint, joint_overlap, pair_counts, sample
from tests.subnetwork.overlap.worlds import World, world

SHAPE = 320, 256


def left(made: World, masks: int) -> tuple[float, float]:
    """Return what the ULP null and the joint null leave, in points of o1, mean over pairs of ``masks``."""
    drawn = [made.mask() for _ in range(masks)]
    everything = sample(drawn[0].shapes, made.p.numel(), seed=0, by_tensor=False)
    nulls = [joint(mask, made.strata, everything) for mask in drawn]
    arranged = [made.strata.arrange(mask) for mask in drawn]
    by_strata = pair_counts(arranged, arranged).stratified.expected
    pairs = [(i, j) for i in range(masks) for j in range(i)]
    ulp = float(np.mean([by_strata[pair] for pair in pairs]))
    both = float(np.mean([joint_overlap(nulls[i], nulls[j]).k12 for i, j in pairs]))
    return 100 * (made.shared - ulp) / made.changed, 100 * (made.shared - both) / made.changed


def main() -> None:
    """Print both tables."""
    masks = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    print("law          density  scales   ULP left  joint left")
    for law in ("normal", "student", "exponential", "uniform"):
        for density in (0.02, 0.08, 0.3, 0.53, 0.9):
            for scales in (0.1, 0.3, 1.0):
                ulp, both = left(world(SHAPE, scales, density, law), masks)
                print(f"{law:12} {density:7} {scales:7} {ulp:+10.2f} {both:+11.2f}", flush=True)
    print("init      density   ULP left  joint left")
    for stored in (torch.bfloat16, torch.float16, torch.float32):
        for density in (0.02, 0.08, 0.3, 0.9):
            ulp, both = left(world(SHAPE, 0.0, density, stored=stored), masks)
            print(f"{str(stored)[6:]:9} {density:7} {ulp:+10.2f} {both:+11.2f}", flush=True)


if __name__ == "__main__":
    main()
