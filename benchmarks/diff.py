"""How fast ``subnetray.diff`` counts, against reading the same files and against a plain torch comparison.

    python benchmarks/diff.py [GiB a checkpoint, default 4]

Two bf16 checkpoints of the shapes of Llama-3.1-8B, as many layers as fit, a shard a layer; a fifth of the weights
differ. All read them from the page cache, on as many threads, in turn, three times (the plain ones once); medians and
ratios are printed, and the peak memory of the command in a process of its own.

Results are written where there are none yet, and once more over earlier ones, which the file system has to free: that
and the two rows of plain writing say how much of the time is the disk's.
"""

from __future__ import annotations

import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from subnetray.checkpoints import Work, compare_checkpoints, open_checkpoint
from subnetray.checkpoints.match import match
from subnetray.subnetwork.counting import Thresholds

ROUNDS = 3
TOLERANCES = (0.0, 1e-8, 1e-6, 1e-5, 1e-4)
DEFAULT = Thresholds(TOLERANCES, (2, 4))  # what the command counts unless told otherwise
THREADS = len(os.sched_getaffinity(0))
DENSITY = 0.2
HIDDEN, KEYS, INNER, VOCABULARY = 4096, 1024, 14336, 128256
LAYER = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
    "input_layernorm": (HIDDEN,),
}


def make(directory: Path, gib: float) -> tuple[Path, Path, int]:
    """An init of normal weights and a final; returns both directories and the bytes of both."""
    generator = torch.Generator().manual_seed(0)
    init, final = directory / "init", directory / "final"
    shards: list[dict[str, tuple[int, ...]]] = []
    left = gib * 2**30
    if left > 3e9:
        shards.append({"model.embed_tokens.weight": (VOCABULARY, HIDDEN)})
        left -= 2 * VOCABULARY * HIDDEN
    while left > 0:
        shards.append({f"model.layers.{len(shards)}.{name}.weight": shape for name, shape in LAYER.items()})
        left -= 2 * sum(torch.Size(shape).numel() for shape in LAYER.values())
    weight_map, total = {}, 0
    for number, shapes in enumerate(shards):
        file = f"model-{number:05d}.safetensors"
        one, two = {}, {}
        for name, shape in shapes.items():
            tensor = torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
            moves = torch.empty(shape, dtype=torch.bfloat16).uniform_(generator=generator) < DENSITY
            one[name], two[name] = tensor, torch.where(moves, tensor * 1.01, tensor)
            weight_map[name] = file
            total += 4 * tensor.numel()
        for place, weights in ((init, one), (final, two)):
            place.mkdir(exist_ok=True)
            save_file(weights, place / file)
    for place in (init, final):
        (place / "config.json").write_text('{"tie_word_embeddings": false}')
        (place / "model.safetensors.index.json").write_text(str({"weight_map": weight_map}).replace("'", '"'))
    return init, final, total


def read(*places: Path) -> None:
    """What any comparison must do: all files once, by as many threads."""

    def work(files: list[Path]) -> None:
        buffer = bytearray(8 << 20)
        for path in files:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    files = [path for place in places for path in sorted(place.glob("*.safetensors"))]
    threads = [threading.Thread(target=work, args=(files[number::THREADS],)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def plain(init: Path, final: Path) -> None:
    """What one writes by hand, tensor by tensor: subtract, count, and count again for every tolerance."""
    torch.set_num_threads(THREADS)
    for path in sorted(init.glob("*.safetensors")):
        with safe_open(path, "pt") as one, safe_open(final / path.name, "pt") as two:
            for name in one.keys():  # noqa: SIM118 (no mapping)
                delta = two.get_tensor(name) - one.get_tensor(name)
                torch.count_nonzero(delta)
                for tau in TOLERANCES:
                    torch.isclose(delta, torch.zeros_like(delta), atol=tau).sum()
    torch.set_num_threads(1)


def simple(init: Path, final: Path) -> None:
    """The least that one can write by hand: where the bits differ, and nothing else."""
    torch.set_num_threads(THREADS)
    for path in sorted(init.glob("*.safetensors")):
        with safe_open(path, "pt") as one, safe_open(final / path.name, "pt") as two:
            for name in one.keys():  # noqa: SIM118 (no mapping)
                (one.get_tensor(name) != two.get_tensor(name)).sum()
    torch.set_num_threads(1)


def ours(init: Path, final: Path, thresholds: Thresholds = DEFAULT, out: Path | None = None) -> None:
    """Counts bit for bit and by all thresholds; with ``out`` the mask and the delta too."""
    with open_checkpoint(init, "init") as one, open_checkpoint(final, "final") as two:
        compare_checkpoints(match(one, two), thresholds, None, Work(THREADS), out)


def write(out: Path, sizes: list[int], direct: bool) -> None:
    """Write as many bytes as the mask and the delta have, and sync them; ``direct``: past the page cache."""
    block = mmap.mmap(-1, 8 << 20)
    out.mkdir()
    for number, size in enumerate(sizes):
        flags = os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if direct else 0)
        file = os.open(out / str(number), flags)
        for _ in range(-(-size // len(block))):
            os.write(file, block)
        os.fsync(file)
        os.close(file)


def main() -> None:
    """Print a line a contestant."""
    gib = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        init, final, nbytes = make(Path(directory), gib)
        out, earlier = Path(directory) / "out", Path(directory) / "earlier"
        ours(init, final, out=earlier)  # compiles, and warms the page cache
        sizes = [path.stat().st_size for path in earlier.iterdir()]
        contestants: dict[str, Callable[[], None]] = {
            "read all files": lambda: read(init, final),
            "diff, bit for bit": lambda: ours(init, final, Thresholds()),
            "diff, all thresholds": lambda: ours(init, final),
            "diff, mask and delta too": lambda: ours(init, final, out=out),
            "the same over earlier ones": lambda: ours(init, final, out=earlier),
            "write as many bytes": lambda: write(out, sizes, direct=False),
            "past the page cache": lambda: write(out, sizes, direct=True),
        }
        by_hand = {"torch, a != b": lambda: simple(init, final), "torch, tolerances": lambda: plain(init, final)}
        seconds: dict[str, list[float]] = {name: [] for name in (*contestants, *by_hand)}
        for name, run in [*ROUNDS * list(contestants.items()), *by_hand.items()]:
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
            shutil.rmtree(out, ignore_errors=True)
        base = statistics.median(seconds["read all files"])
        print(f"{nbytes / 1e9:.2f} GB in two checkpoints, {THREADS} threads")
        for name, values in seconds.items():
            median = statistics.median(values)
            print(f"{name:26} {median:7.3f} s  {nbytes / median / 1e9:6.2f} GB/s  {median / base:7.2f} × reading")
        # Not ru_maxrss, which a child takes over from its parent.
        code = (
            "import sys; from pathlib import Path; from subnetray.diff import main; main(sys.argv[1:]);"
            "status = Path('/proc/self/status').read_text();"
            "print('peak', status.split('VmHWM:')[1].split()[0])"
        )
        words = [f"init={init}", f"final={final}", f"out={out}"]
        done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
        print(f"peak memory of the command: {int(done.stdout.split('peak ')[1]) / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
