"""What happens in a run: load, evaluate, train, evaluate, measure, write."""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from subnetray import algorithms, rollout, tasks
from subnetray.algorithms.restricted import restrict
from subnetray.algorithms.setting import DataLog, RunError, Setting, attention
from subnetray.clock import Clock
from subnetray.config import Measurement
from subnetray.files import write_atomic
from subnetray.job.early import Early, fisher
from subnetray.job.evaluation import Score, evaluate
from subnetray.job.likelihood import mean_nll
from subnetray.job.recorder import Recorder
from subnetray.job.spec import RunSpec
from subnetray.subnetwork.delta import Delta
from subnetray.subnetwork.hashing import weights_hash
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.nearness import nearness
from subnetray.subnetwork.views import views
from subnetray.subnetwork.visible import Comparison, compare
from subnetray.subnetwork.weights import Weights, named_weights

# Weights are kept and exported in these dtypes: (while training, exported).
DTYPES = {
    "fp32_master": (torch.float32, torch.bfloat16),
    "bf16": (torch.bfloat16, torch.bfloat16),
    "fp32": (torch.float32, torch.float32),
}

# What the imports above made lives as long as the process: collecting garbage (accelerate asks for it at the end of
# every training) need not look at it again, which takes 0.4 s.
gc.freeze()


def run(values: dict[str, Any], import_s: float = 0.0) -> None:
    """Execute one worker's part of the run that ``values`` (a :class:`RunSpec` as a dictionary) describes.

    Rank 0 writes ``config.yaml``, ``metrics.jsonl``, ``mask.safetensors``, ``delta.safetensors``, the mask that it was
    restricted to and the scores of early steps where there are any and, last, ``result.json`` to the run's directory.
    """
    spec = RunSpec.from_dict(values)
    config = spec.config
    rank, workers = int(os.environ.get("RANK", "0")), max(1, spec.workers)
    clock = Clock()
    began = time.perf_counter()
    quiet()
    with clock("load"):
        held, export = DTYPES[config.precision]
        # Seeds torch, numpy and random: what is drawn before the trainer seeds them again is decided too.
        transformers.set_seed(config.seed)
        tokenizer = AutoTokenizer.from_pretrained(spec.init, local_files_only=True)
        if tokenizer.eos_token_id is None:
            raise RunError(f"the tokenizer of {spec.init} has no end-of-sequence token")
        device = _device(spec)
        model = AutoModelForCausalLM.from_pretrained(
            spec.init, dtype=held, attn_implementation=attention(config, device), local_files_only=True
        )
        model.to(device)
        init = _export(model, export)
        engines, wait = rollout.connect(spec.engines), config.rollout.timeout_s
        policy = rollout.Policy(engines, spec.run_id, wait, config.rollout.staleness)
    with tempfile.TemporaryDirectory(prefix="subnetray-") as scratch:
        recorder = Recorder(spec.metrics, model, init, config.measurement.every, write=rank == 0)
        setting = Setting(
            config=config,
            init=spec.init,
            model=model,
            tokenizer=tokenizer,
            task=tasks.load(config.task),
            policy=policy,
            data=DataLog(),
            callbacks=[recorder],
            scratch=Path(scratch),
            workers=workers,
            rank=rank,
        )
        setting.publish("init")
        with clock("evaluate"):
            before, _ = evaluate(setting)
        with clock("prepare"):
            restricted = restrict(setting, init, spec.source)
            early = None
            if config.measurement.early and rank == 0:
                early = Early(spec.scores, config.measurement.early, model, init, fisher(setting))
                setting.callbacks.append(early)
            trainer = algorithms.build(setting)
            # The model's own progress and metrics tables; the recorder writes both.
            trainer.remove_callback(transformers.PrinterCallback)
        rolled_out = dict(policy.seconds)
        with clock("train"):
            trainer.train()
        during = {key: policy.seconds[key] - rolled_out[key] for key in policy.seconds}
        setting.publish("final")
        with clock("evaluate"):
            after, sampled = evaluate(setting)
        # Cycles would keep the optimizer's moments while what it did is measured, and gradients are of no more use.
        del trainer
        model.zero_grad()
        gc.collect()
    if rank != 0:
        return
    with clock("measure"):
        final = _export(model, export)
        comparison = compare(init, final, config.measurement.tolerances, config.measurement.ULPS)
        if comparison.nonfinite:
            raise RunError(f"{comparison.nonfinite} weights are NaN or infinite after step {recorder.steps}")
        delta = Delta.between(init, final)
        mask = Mask.between(init, final)
        dynamics = recorder.dynamics.summary().to_dict() | {"every": config.measurement.every}
        # SGD has no bound on a step in terms of the learning rate.
        reach = recorder.sum_lr if config.algorithm.optimizer == "adamw" else None
        held_init = init if held == export else _held(spec, held)
        seen = views(held_init, named_weights(model), reach, export)
        del held_init
        found = [] if early is None else early.results(mask, config.seed)
        pad, temperature = tokenizer.pad_token_id or 0, config.rollout.temperature
        kl = -mean_nll(model, sampled, pad, temperature)
        distance = None if spec.source is None else _distance(spec, spec.source, init, final, reach)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(init[name])
        kl += mean_nll(model, sampled, pad, temperature)
        nll = mean_nll(model, setting.data.examples, pad)
    with clock("write"):
        metadata = {"run_id": spec.run_id}
        write_atomic(spec.directory / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
        mask.save(spec.mask, metadata)
        delta.save(spec.delta, metadata)
        if restricted is not None:
            restricted.restriction.mask.save(spec.restriction, metadata)
    seconds = {"import": import_s} | clock.seconds | during
    seconds["train"] -= sum(during.values())
    seconds["total"] = time.perf_counter() - began
    result = {
        "run_id": spec.run_id,
        "status": "done",
        "error": None,
        "export_dtype": str(export).removeprefix("torch."),
        "init_hash": delta.init_hash,
        "final_hash": delta.final_hash,
        "steps": recorder.steps,
        "sum_lr": recorder.sum_lr,
        "evaluation": {"before": _scores(before), "after": _scores(after)},
        # Of the final policy to the init, nats a token, on what it answers to the held-out prompts.
        "kl_to_init": None if math.isnan(kl) else kl,
        "data": {"nll": nll, "examples": setting.data.seen, "tokens": setting.data.tokens},
        "sync": dataclasses.asdict(policy.sync),
        "seconds": {phase: round(value, 4) for phase, value in seconds.items()},
        "dynamics": dynamics,
        "views": seen.to_dict(),
        **({} if restricted is None else {"subnetwork": restricted.summary() | {"distance": distance}}),
        **({} if early is None else {"early": found}),
        **summary(comparison),
    }
    write_atomic(spec.result, json.dumps(result, indent=1))


def summary(comparison: Comparison) -> dict[str, Any]:
    """What ``result.json`` says of the update: counts for the whole model, by module and layer, and per tensor."""

    def counts(part: Comparison) -> dict[str, int]:
        return {"n": part.n, "changed_bitwise": part.changed_bitwise}

    return {
        "n": comparison.n,
        "density": {
            "bitwise": comparison.density_bitwise,
            "abs": {f"{tau:g}": density for tau, density in comparison.density_abs.items()},
            "ulps": {str(ulps): density for ulps, density in comparison.density_ulps.items()},
        },
        "by_module": {kind: counts(part) for kind, part in comparison.by_module().items()},
        "by_layer": {str(layer): counts(part) for layer, part in comparison.by_layer().items() if layer is not None},
        "tensors": [
            dataclasses.asdict(tensor)
            | {"changed_abs": {f"{tau:g}": count for tau, count in tensor.changed_abs.items()}}
            for tensor in comparison.tensors
        ],
    }


def quiet() -> None:
    """Keep the libraries' banners and progress bars off the sweep's own output; errors still appear."""
    import datasets

    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    # transformers deprecates what TRL still asks of it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def _device(spec: RunSpec) -> torch.device:
    if spec.gpus_per_worker == 0:
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _export(model: torch.nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """A copy of the weights in the export dtype, which later steps of the optimizer leave alone."""
    return {name: tensor.clone() for name, tensor in named_weights(model, dtype).items()}


def _held(spec: RunSpec, dtype: torch.dtype) -> Weights:
    """The init as training held it, once more from disk: no copy of it is kept while the run trains."""
    return named_weights(AutoModelForCausalLM.from_pretrained(spec.init, dtype=dtype, local_files_only=True))


def _distance(spec: RunSpec, source: Path, init: Weights, final: Weights, reach: float | None) -> dict[str, Any]:
    """How far a restricted run's final is from that of its source, both as exported; ``reach`` is the run's Σ lr."""
    result = json.loads((source / "result.json").read_bytes())
    delta = Delta.load(source / "delta.safetensors")
    if result["init_hash"] != weights_hash(init):  # exported in another dtype
        init = _held(spec, getattr(torch, result["export_dtype"]))
    displacements = None
    # As for this run: how far a source can have come that Adam did not train is not known.
    if reach is not None and result["views"]["reachable"] is not None:
        displacements = (reach, float(result["sum_lr"]))
    near = nearness(final, delta.apply(init), init, Measurement.NEAR, displacements)

    def by_tolerance(shares: dict[float, float]) -> dict[str, float]:
        return {f"{tolerance:g}": share for tolerance, share in shares.items()}

    return {
        "weights": "exported",
        "relative": None if math.isnan(near.relative) else near.relative,
        "equal": by_tolerance(near.equal),
        "bound": None if near.bound is None else by_tolerance(near.bound),
    }


def _scores(scores: dict[str, Score]) -> dict[str, Any]:
    return {kind: dataclasses.asdict(score) for kind, score in scores.items()}
