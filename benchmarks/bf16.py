"""bf16 linear layers as PyTorch multiplies them on this CPU, and in fp32: GFLOP/s of forward and backward, one thread.

``python benchmarks/bf16.py``: medians of five, the two taken in turn. Shapes are those of the embedded model and of
SmolLM2-135M. Where ``native`` is false, runs and engines take the second way by themselves (``subnetray.bf16``).
"""

from __future__ import annotations

import contextlib
import statistics
import time

import torch

from subnetray import bf16

_SHAPES = {"embedded model": (1024, 128, 512), "SmolLM2-135M": (2048, 576, 1536)}


def _seconds(x: torch.Tensor, weight: torch.Tensor, in_float32: bool) -> float:
    with bf16._InFloat32() if in_float32 else contextlib.nullcontext():
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight).sum().backward()
        return time.perf_counter() - start


def main() -> None:
    """Print a line a shape."""
    torch.set_num_threads(1)
    print(f"native: {bf16.native()} ({torch.backends.cpu.get_cpu_capability()})")
    for name, (rows, inner, outer) in _SHAPES.items():
        x = torch.randn(rows, inner, dtype=torch.bfloat16, requires_grad=True)
        weight = torch.randn(outer, inner, dtype=torch.bfloat16, requires_grad=True)
        taken: dict[bool, list[float]] = {False: [], True: []}
        for way in (False, True) * 6:
            taken[way].append(_seconds(x, weight, way))
        rates = [6e-9 * rows * inner * outer / statistics.median(taken[way][1:]) for way in (False, True)]
        print(f"{name}: PyTorch {rates[0]:.1f}, in fp32 {rates[1]:.1f} GFLOP/s ({rates[1] / rates[0]:.1f} times)")


if __name__ == "__main__":
    main()
