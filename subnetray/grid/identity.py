"""Run identity: a content hash over everything that decides a run's bytes, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from subnetray import models, tasks
from subnetray.config import RunConfig
from subnetray.mask_file import inspect

# Raise it whenever the same config would give other bytes than before: finished runs are then no longer reused.
RUN_VERSION = 3

# What of the rollouts reaches the weights. Engines, their resources and time limits only decide how long it takes.
_ROLLOUT = ("dtype", "temperature", "max_new_tokens", "max_model_len")


def run_id(config: RunConfig, data_parallel: int) -> str:
    """Return 12 hexadecimal digits that stand for the run; ``data_parallel`` is the number of workers it trains on.

    Gradients are summed in another order on other numbers of workers, so that it counts. The names of model and task
    are labels and do not.
    """
    text = json.dumps(_content(config, data_parallel), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _content(config: RunConfig, data_parallel: int) -> dict[str, Any]:
    mask = config.subnetwork.mask
    # Only where there is a mask, which counts by its content: the ids of other runs are what they were without masks.
    measurement = dataclasses.asdict(config.measurement)
    if not config.measurement.early:  # as where there is no mask: it counts where it is given
        del measurement["early"]
    restricted = {"subnetwork": {"mask": inspect(Path(mask)).digest, "clip": config.subnetwork.clip}} if mask else {}
    # Likewise: engines of vLLM were there first, and a draw that is not the first.
    engine = {} if config.rollout.name == "vllm" else {"name": config.rollout.name}
    replica = {"replica": config.rollout.replica} if config.rollout.replica else {}
    return {
        **restricted,
        "version": RUN_VERSION,
        "model": models.model_key(config.model),
        "task": tasks.task_key(config.task),
        "algorithm": dataclasses.asdict(config.algorithm),
        "rollout": engine | replica | {name: getattr(config.rollout, name) for name in _ROLLOUT},
        "evaluation": dataclasses.asdict(config.evaluation),
        "measurement": measurement,
        "precision": config.precision,
        "seed": config.seed,
        "data_parallel": data_parallel,
    }
