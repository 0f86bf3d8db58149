"""What a finished training did: its update, exactly, and what the policy and its data have become to the init."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from subnetray.algorithms.shared.setting import Example, RunError, Setting
from subnetray.config import Measurement
from subnetray.job.early import Early
from subnetray.job.likelihood import mean_nll
from subnetray.job.recorder import Recorder
from subnetray.job.spec import RunSpec
from subnetray.subnetwork.delta import Delta
from subnetray.subnetwork.hashing import weights_hash
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.overlap.distance_to_run import distance_to_run
from subnetray.subnetwork.update.formats import views
from subnetray.subnetwork.update.rank import mean_ranks
from subnetray.subnetwork.visible import Comparison, compare
from subnetray.subnetwork.weights import Weights, named_weights

# Weights are kept and exported in these dtypes: (while training, exported).
DTYPES = {
    "fp32_master": (torch.float32, torch.bfloat16),
    "bf16": (torch.bfloat16, torch.bfloat16),
    "fp32": (torch.float32, torch.float32),
}


@dataclass(frozen=True)
class Measured:
    """``values`` are its part of ``result.json``; ``distance`` is that of a restricted run to its source, or None."""

    mask: Mask
    delta: Delta
    values: dict[str, Any]
    distance: dict[str, Any] | None


@dataclass(frozen=True)
class Followed:
    """The recorder and the early scores of a run that trained; ``early`` is None where nothing was asked for early."""

    recorder: Recorder
    early: Early | None


def measure(spec: RunSpec, setting: Setting, init: Weights, followed: Followed, sampled: Sequence[Example]) -> Measured:
    """Measure the update of a trained model, and leave it with the weights of ``init``, its first as exported.

    ``sampled``: what the final policy answered to the held-out prompts. Raises :class:`RunError` for weights that are
    NaN or infinite.
    """
    recorder, early = followed.recorder, followed.early
    config, model = setting.config, setting.model
    held, export = DTYPES[config.precision]
    final = exported(model, export)
    comparison = compare(init, final, config.measurement.tolerances, config.measurement.ULPS)
    if comparison.nonfinite:
        raise RunError(f"{comparison.nonfinite} weights are NaN or infinite after step {recorder.steps}")
    delta, mask = Delta.between(init, final), Mask.between(init, final)
    # SGD has no bound on a step in terms of the learning rate.
    reach = recorder.sum_lr if config.algorithm.optimizer == "adamw" else None
    held_init = init if held == export else _held(spec, held)
    seen = views(held_init, named_weights(model), reach, export)
    del held_init
    ranks = mean_ranks(init, final, config.measurement.ranks)
    found = {} if early is None else {"early": early.results(mask, config.seed)}
    distance = None if spec.source is None else _distance(spec, spec.source, init, final, reach)
    pad, temperature = setting.tokenizer.pad_token_id or 0, config.rollout.temperature
    kl = -mean_nll(model, sampled, pad, temperature)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(init[name])
    kl += mean_nll(model, sampled, pad, temperature)
    values = {
        "export_dtype": str(export).removeprefix("torch."),
        "init_hash": delta.init_hash,
        "final_hash": delta.final_hash,
        # Of the final policy to the init, nats a token, on what it answers to the held-out prompts.
        "kl_to_init": None if math.isnan(kl) else kl,
        "data": {
            "nll": mean_nll(model, setting.data.examples, pad),
            "examples": setting.data.seen,
            "tokens": setting.data.tokens,
        },
        "dynamics": recorder.dynamics.summary().to_dict() | {"every": config.measurement.every},
        "views": seen.to_dict(),
        **({} if ranks is None else {"ranks": dataclasses.asdict(ranks)}),
        **found,
        **_summary(comparison),
    }
    return Measured(mask, delta, values, distance)


def exported(model: torch.nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """A copy of the weights in the export dtype, which later steps of the optimizer leave alone."""
    return {name: tensor.clone() for name, tensor in named_weights(model, dtype).items()}


def _summary(comparison: Comparison) -> dict[str, Any]:
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
    near = distance_to_run(final, delta.apply(init), init, Measurement.NEAR, displacements)

    def by_tolerance(shares: dict[float, float]) -> dict[str, float]:
        return {f"{tolerance:g}": share for tolerance, share in shares.items()}

    return {
        "weights": "exported",
        "relative": None if math.isnan(near.relative) else near.relative,
        "equal": by_tolerance(near.equal),
        "bound": None if near.bound is None else by_tolerance(near.bound),
    }
