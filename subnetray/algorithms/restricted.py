"""Training restricted to a subnetwork: the same for every algorithm, since what is confined is the optimizer's step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from subnetray.algorithms.setting import Setting
from subnetray.mask_file import inspect
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.restriction import Restriction
from subnetray.subnetwork.weights import Weights


class Restricted(TrainerCallback):
    """Puts a restriction on the optimizer that a trainer makes, and the norm of the masked gradient into its log."""

    def __init__(self, restriction: Restriction, digest: str) -> None:
        self.restriction, self._digest = restriction, digest

    def on_train_begin(self, *_: Any, optimizer: torch.optim.Optimizer, **__: Any) -> None:
        # Accelerate wraps the optimizer, and steps it once for all passes of a batch.
        self.restriction.attach(getattr(optimizer, "optimizer", optimizer))

    def on_log(
        self,
        _: TrainingArguments,
        __: TrainerState,
        ___: TrainerControl,
        logs: dict[str, float] | None = None,
        **____: Any,
    ) -> None:
        if logs is not None and "loss" in logs:
            logs["grad_norm_masked"] = self.restriction.norms[-1][1]

    def summary(self) -> dict[str, Any]:
        """What ``result.json`` says of it: the subnetwork's size, and means over steps of both norms, unclipped."""
        mask, norms = self.restriction.mask, self.restriction.norms
        full, masked = (math.fsum(column) / len(norms) for column in zip(*norms, strict=True))
        return {"mask": self._digest, "k": mask.k, "n": mask.n, "grad_norm": full, "grad_norm_masked": masked}


def restrict(setting: Setting, init: Weights) -> Restricted | None:
    """Restrict the training of ``setting`` to its config's mask, if it names one; ``init`` is the model's, as exported.

    Called before the trainer is built.
    """
    config = setting.config
    if config.subnetwork.mask is None:
        return None
    path, norm = Path(config.subnetwork.mask), config.algorithm.max_grad_norm
    restriction = Restriction(
        dict(setting.model.named_parameters()),
        Mask.load(path),
        init,
        config.subnetwork.clip,
        math.inf if norm is None else norm,
    )
    restricted = Restricted(restriction, inspect(path).digest)
    setting.callbacks.insert(0, restricted)  # before what writes the log down
    return restricted
