"""Run identity: a content hash over everything that decides a run's bytes, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from subnetray import models, tasks
from subnetray.config import Measurement, OnPolicy, RunConfig
from subnetray.mask_file import inspect

# Raise it whenever the same config would give other bytes than before: finished runs are then no longer reused.
RUN_VERSION = 8

# What of the rollouts reaches the weights. Engines, their resources and time limits only decide how long it takes.
_ROLLOUT = ("dtype", "temperature", "max_new_tokens", "max_model_len")


def run_id(config: RunConfig, data_parallel: int, source: str | None = None, sharded: bool = False) -> str:
    """Return 12 hexadecimal digits that stand for the run; ``data_parallel`` is the number of workers it trains on.

    Gradients are summed in another order on other numbers of workers, so that it counts, as does whether they share one
    copy of the model (``sharded``). The names of model and task are labels and do not. ``source``: the id of the run
    that an arm's mask is made of.
    """
    text = json.dumps(
        _content(config, data_parallel, source, sharded), sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _content(config: RunConfig, data_parallel: int, source: str | None = None, sharded: bool = False) -> dict[str, Any]:
    subnetwork = config.subnetwork
    # Only where there is a mask, which counts by its content: the ids of other runs are what they were without masks.
    measurement = dataclasses.asdict(config.measurement)
    if not config.measurement.early or subnetwork.mask is not None:  # it counts where it does anything
        del measurement["early"]
    if config.measurement.ranks == Measurement.ranks:  # it came later: ids that exist stay
        del measurement["ranks"]
    restricted: dict[str, Any] = {}
    if subnetwork.arm is not None:
        restricted = {"arm": subnetwork.arm, "at": subnetwork.at, "source": source, "clip": subnetwork.clip}
    elif subnetwork.file is not None:
        restricted = {"mask": inspect(subnetwork.file).digest, "clip": subnetwork.clip}
    return {
        **({"subnetwork": restricted} if restricted else {}),
        "version": RUN_VERSION,
        "model": models.model_key(config.model),
        "task": tasks.task_key(config.task),
        "algorithm": dataclasses.asdict(config.algorithm),
        "rollout": _rollout(config),
        "evaluation": dataclasses.asdict(config.evaluation),
        "measurement": measurement,
        "precision": config.precision,
        "seed": config.seed,
        "data_parallel": data_parallel,
        **({"sharded": True} if sharded else {}),
    }


def _rollout(config: RunConfig) -> dict[str, Any]:
    rollout = config.rollout
    # Keys that came later count where they are not as all was before: ids that exist stay.
    later = {
        "name": rollout.name != "vllm",
        "replica": rollout.replica > 0,
        "staleness": rollout.staleness > 0 and isinstance(config.algorithm, OnPolicy),
        "tensor_parallel": rollout.tensor_parallel > 1,  # sums are taken in another order
    }
    return {name: getattr(rollout, name) for name in (*_ROLLOUT, *(name for name, counts in later.items() if counts))}
