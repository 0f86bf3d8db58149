"""How fast ``subnetray.diff`` counts, against reading the same files and against a plain torch comparison.

    python benchmarks/diff.py [GiB a checkpoint, default 1]

All three read the same two bf16 checkpoints from the page cache, in turn, three times; medians and ratios are printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from subnetray.checkpoints import compare_checkpoints, open_checkpoint
from subnetray.subnetwork.chunk import Thresholds

ROUNDS = 3
TOLERANCES = (0.0, 1e-8, 1e-6, 1e-5, 1e-4)
DEFAULT = Thresholds(TOLERANCES, (2, 4))  # what the command counts unless told otherwise


def make(directory: Path, gib: float) -> list[Path]:
    """An init of normal weights and a final of which about a fifth differs."""
    generator = torch.Generator().manual_seed(0)
    rows = int(gib * 2**30 / 2 / 4096 / 16)
    init = {
        f"model.layers.{i}.mlp.up_proj.weight": (0.02 * torch.randn(rows, 4096, generator=generator)).bfloat16()
        for i in range(16)
    }
    final = {
        name: torch.where(torch.rand(t.shape, generator=generator) < 0.2, t * 1.01, t).bfloat16()
        for name, t in init.items()
    }
    paths = []
    for name, weights in (("init", init), ("final", final)):
        (directory / name).mkdir()
        save_file(weights, directory / name / "model.safetensors")
        paths.append(directory / name)
    return paths


def read(init: Path, final: Path) -> None:
    """What any comparison must do: both files, once."""
    buffer = bytearray(8 << 20)
    for path in (init, final):
        with (path / "model.safetensors").open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def plain(init: Path, final: Path) -> None:
    """What one writes by hand: load both, subtract, count."""
    a, b = load_file(init / "model.safetensors"), load_file(final / "model.safetensors")
    for name in a:
        delta = b[name] - a[name]
        torch.count_nonzero(delta)
        for tau in TOLERANCES:
            torch.isclose(delta, torch.zeros_like(delta), atol=tau).sum()


def ours(init: Path, final: Path, thresholds: Thresholds = DEFAULT, out: Path | None = None) -> None:
    """Counts bit for bit and at all tolerances; with ``out`` the mask and the delta too."""
    with open_checkpoint(init, "init") as one, open_checkpoint(final, "final") as two:
        compare_checkpoints(one, two, thresholds, None, len(os.sched_getaffinity(0)), out)


def main() -> None:
    """Print a line a contestant."""
    gib = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stderr(io.StringIO()):
        init, final = make(Path(directory), gib)
        contestants: dict[str, Callable[[], None]] = {
            "read both files": lambda: read(init, final),
            "subnetray.diff, bit for bit": lambda: ours(init, final, Thresholds()),
            "subnetray.diff, tolerances": lambda: ours(init, final),
            "subnetray.diff, mask and delta": lambda: ours(init, final, out=Path(directory) / "out"),
            "plain torch": lambda: plain(init, final),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(ROUNDS):
            for name, run in contestants.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["read both files"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:32} {median:7.3f} s  {2 * gib * 1.0737 / median:6.2f} GB/s  {median / base:6.2f} × reading")


if __name__ == "__main__":
    main()
