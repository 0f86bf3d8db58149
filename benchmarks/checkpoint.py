"""Measure a checkpoint within a run: seconds to write and to read it, and bytes, of SFT after two steps of AdamW.

    python benchmarks/checkpoint.py [smollm2] [DIRECTORY]

One core, and the disk of DIRECTORY (default: that of temporary files). Models have the shapes of the embedded one
(0.4 M parameters) and, if asked for, of SmolLM2-135M, with weights at random, stored in bf16; they are trained in
fp32 masters, in bf16, and in fp32 masters restricted to 5 % of the weights. Beside wall-clock stands processor time,
which says more on a machine that has other work. Lines of 7 and 70 billion parameters are not measured: they are what
SmolLM2's shape took, times as many.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM

from subnetray import algorithms, tasks
from subnetray.algorithms.shared.loading import Placement, load
from subnetray.algorithms.shared.restricted import restrict
from subnetray.algorithms.shared.setting import DataLog, Setting
from subnetray.config import (
    SFT,
    ArithmeticTask,
    EmbeddedModel,
    Evaluation,
    Measurement,
    Rollout,
    RunConfig,
    Subnetwork,
)
from subnetray.job.checkpoint import Running
from subnetray.job.measurement import DTYPES, exported
from subnetray.job.recorder import Recorder
from subnetray.job.run import quiet
from subnetray.models.pretraining import shape
from subnetray.models.tokenizer import make_tokenizer
from subnetray.rollout import Policy
from subnetray.subnetwork import arms
from subnetray.subnetwork.files.state import State

DENSITY = 0.05
ROUNDS = 3
CASES = (("fp32_master", False), ("bf16", False), ("fp32_master", True))
LARGE = 1e8
EXTRAPOLATED = {"7 B": 7e9, "70 B": 70e9}


@dataclass(frozen=True)
class Cost:
    """The cost of a checkpoint of ``n`` parameters: seconds to gather and write it, and to read and check it.

    ``cpu``: seconds of the processor.
    """

    n: int
    nbytes: int
    write_s: float
    write_cpu_s: float
    read_s: float
    read_cpu_s: float


class Timed(transformers.TrainerCallback):
    """Writes and reads a checkpoint before the third step of a training."""

    def __init__(self, running: Running, path: Path) -> None:
        self._running, self._path = running, path
        self.costs: list[Cost] = []

    def on_step_begin(self, _: Any, state: Any, *__: Any, optimizer: Any, lr_scheduler: Any, **___: Any) -> None:
        if state.global_step != 2:
            return
        n = sum(each.numel() for each in self._running.setting.model.parameters())
        for _round in range(ROUNDS if n < LARGE else 1):
            times = [(time.perf_counter(), time.process_time())]
            self._running.kept(optimizer.optimizer, lr_scheduler).save(self._path, {})
            times.append((time.perf_counter(), time.process_time()))
            State.load(self._path)
            times.append((time.perf_counter(), time.process_time()))
            seconds = [
                after - before for one, other in pairwise(times) for before, after in zip(one, other, strict=True)
            ]
            self.costs.append(Cost(n, self._path.stat().st_size, *seconds))


def models(large: bool) -> Iterator[tuple[str, PreTrainedModel]]:
    torch.manual_seed(0)
    yield "embedded, 0.4 M", Qwen2ForCausalLM(shape(EmbeddedModel()))
    if large:
        size = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
        heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
        yield "SmolLM2-135M's shape", LlamaForCausalLM(LlamaConfig(**size, **heads))


def measure(init: Path, precision: str, restricted: bool, place: Path) -> Cost:
    """Return the cost of the checkpoint of median time to write."""
    config = RunConfig(
        model=EmbeddedModel(),
        task=ArithmeticTask(),
        algorithm=SFT(steps=3, batch_size=2, lr=1e-5),
        rollout=Rollout(),
        evaluation=Evaluation(),
        measurement=Measurement(),
        precision=precision,
        subnetwork=Subnetwork(mask=str(place / "mask") if restricted else None),
    )
    held, export = DTYPES[precision]
    model = load(init, config, Placement(held, torch.device("cpu")))
    weights = exported(model, export)
    if restricted:
        shapes = {name: tuple(each.shape) for name, each in weights.items()}
        arms.random(shapes, int(DENSITY * sum(each.numel() for each in weights.values())), seed=0).save(
            place / "mask", {}
        )
    recorder = Recorder(place / "metrics.jsonl", model, weights, every=1, write=True)
    setting = Setting(
        config=config,
        init=init,
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(init),
        task=tasks.load(config.task),
        policy=cast(Policy, None),  # of gold completions nothing is sampled
        data=DataLog(),
        callbacks=[recorder],
        scratch=place / "scratch",
        drawn={},
    )
    restriction = restrict(setting, weights)
    trainer = algorithms.build(setting)
    trainer.remove_callback(transformers.PrinterCallback)
    timed = Timed(Running(setting, trainer, recorder, None, restriction, weights, {}), place / "state.safetensors")
    trainer.add_callback(timed)
    trainer.train()
    return sorted(timed.costs, key=lambda cost: cost.write_s)[len(timed.costs) // 2]


def main(arguments: list[str]) -> None:
    """Print a line a model and a way to train it, and what they come to at 7 and 70 billion parameters."""
    torch.set_num_threads(1)
    quiet()
    large = "smollm2" in arguments
    where = next((each for each in arguments if each != "smollm2"), None)
    costs: dict[tuple[str, bool], Cost] = {}
    print(f"{'':<44}{'MB':>11}{'B/weight':>9}{'write s':>10}{'CPU s':>10}{'read s':>10}{'CPU s':>10}")
    with tempfile.TemporaryDirectory(dir=where) as scratch:
        for name, model in models(large):
            init = Path(scratch, name)
            model.bfloat16().save_pretrained(init)
            make_tokenizer(64).save_pretrained(init)
            del model
            for precision, restricted in CASES:
                with tempfile.TemporaryDirectory(dir=scratch) as place:
                    cost = measure(init, precision, restricted, Path(place))
                costs[precision, restricted] = cost
                _line(f"{name}, {precision}{', 5 %' if restricted else ''}", cost, cost.n)
    for name, n in EXTRAPOLATED.items() if large else ():
        for (precision, restricted), cost in costs.items():
            _line(f"{name} (extrapolated), {precision}{', 5 %' if restricted else ''}", cost, n)


def _line(name: str, cost: Cost, n: float) -> None:
    times = n / cost.n
    seconds = (cost.write_s, cost.write_cpu_s, cost.read_s, cost.read_cpu_s)
    columns = "".join(f"{times * each:>10,.2f}" for each in seconds)
    print(f"{name:<44}{times * cost.nbytes / 1e6:>11,.1f}{cost.nbytes / cost.n:>9.2f}{columns}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
