"""What it costs to follow a run: beside an optimizer step of the tiny model, and by coordinate at 135 M of them.

    python benchmarks/dynamics.py [millions of coordinates, default 135]

One core. The step is one on 128 sequences of 8 tokens, forward, backward and AdamW, in bf16 autocast with fp32 weights;
a step of GRPO takes longer, as it has rollouts too. Contestants take turns, medians are printed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import Qwen2ForCausalLM

from subnetray.config import EmbeddedModel
from subnetray.models.pretraining import shape
from subnetray.subnetwork import count_changed, named_weights
from subnetray.subnetwork.update.dynamics import Dynamics
from subnetray.subnetwork.update.formats import views

ROUNDS = 30
LARGE_ROUNDS = 3
ROW = 1024


def tiny() -> Qwen2ForCausalLM:
    """A model of the shapes of the embedded one, its weights at random."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(shape(EmbeddedModel()))


def plain(init: dict[str, torch.Tensor], previous: dict[str, torch.Tensor], held: dict[str, torch.Tensor]) -> None:
    """What one writes by hand in torch: the same counts, norms and lengths, a boolean a coordinate."""
    for name, tensor in held.items():
        current = tensor.bfloat16()
        a, b, c = init[name].float(), previous[name].float(), current.float()
        delta, step = c - a, c - b
        seen = a != c
        seen.logical_or_(seen)
        (b != c).sum().item(), seen.sum().item(), delta.abs().sum().item(), step.abs().sum().item()
        delta.square().sum().item(), step.square().sum().item()


def take_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def small() -> None:
    """Beside a step of the tiny model."""
    model = tiny()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    tokens = torch.randint(0, 16, (128, 8))
    export = {name: tensor.clone() for name, tensor in named_weights(model, torch.bfloat16).items()}
    init = {name: tensor.clone() for name, tensor in named_weights(model).items()}
    dynamics = Dynamics(export, named_weights(model))
    steps = iter(range(1, 1 << 20))

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    contestants: dict[str, Callable[[], object]] = {
        "optimizer step": train,
        "density alone": lambda: count_changed(export, named_weights(model, torch.bfloat16)),
        "dynamics": lambda: dynamics.measure(next(steps), named_weights(model), snapshot=True),
        "views, once a run": lambda: views(init, named_weights(model), 6e-4),
    }
    take_turns(contestants, 2)
    found = take_turns(contestants, ROUNDS)
    base = found["optimizer step"]
    print(f"{sum(tensor.numel() for tensor in init.values()):,} coordinates")
    for name, median in found.items():
        print(f"{name:24} {1e3 * median:8.2f} ms  {100 * median / base:6.1f} % of the step")


def large(n: int) -> None:
    """By coordinate, in tensors of some million."""
    generator = torch.Generator().manual_seed(0)
    held = {f"{i}": 0.02 * torch.randn(6 * ROW, ROW, generator=generator) for i in range(max(1, n // (6 * ROW * ROW)))}
    init = {name: tensor.bfloat16() for name, tensor in held.items()}
    dynamics = Dynamics(init, held)
    for tensor in held.values():
        tensor += 2e-5 * torch.randn(ROW, generator=generator)
    previous = {name: tensor.clone() for name, tensor in init.items()}
    contestants: dict[str, Callable[[], object]] = {
        "cast alone": lambda: [tensor.bfloat16() for tensor in held.values()],
        "dynamics": lambda: dynamics.measure(1, held),
        "by hand in torch": lambda: plain(init, previous, held),
    }
    coordinates = sum(tensor.numel() for tensor in held.values())
    print(f"{coordinates:,} coordinates")
    for name, median in take_turns(contestants, LARGE_ROUNDS).items():
        print(f"{name:24} {1e3 * median:8.0f} ms  {1e9 * median / coordinates:6.2f} ns a coordinate")


def main() -> None:
    """Print a line a contestant."""
    torch.set_num_threads(1)
    small()
    large(int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 135_000_000)


if __name__ == "__main__":
    main()
