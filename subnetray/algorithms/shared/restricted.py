"""Training restricted to a subnetwork: the same for every algorithm, since what is confined is the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from subnetray.algorithms.shared.setting import RunError, Setting
from subnetray.config import Subnetwork
from subnetray.mask_file import digest
from subnetray.rollout.sampling import derive_seed
from subnetray.subnetwork import arms
from subnetray.subnetwork.files.scores import load_scores
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.restriction import Restriction
from subnetray.subnetwork.weights import Weights

# Masks of the budget of the source's own, by arm: of that mask, the init as exported, and a seed.
ARMS: Mapping[str, Callable[[Mask, Weights, int], Mask]] = {
    "oracle": lambda found, init, seed: found,
    "random": lambda found, init, seed: arms.random(found.shapes, found.k, seed),
    "random_per_tensor": lambda found, init, seed: arms.random_per_tensor(found, seed),
    "ulp_matched": arms.ulp_matched,
    # Where less than the budget is outside, all of it.
    "complement": lambda found, init, seed: ~found if 2 * found.k > found.n else arms.complement(found, seed),
    "low_magnitude": arms.low_magnitude,
    "principal": arms.principal,
}

# What the arms of largest scores are called in the files of scores (see subnetwork.scores).
SCORES = {name: "update" if name == "early_update" else name for name in Subnetwork.SCORES}


class Restricted(TrainerCallback):
    """Puts a restriction on the optimizer that a trainer makes, and the norm of the masked gradient into its log.

    ``source``: the id of the run that the mask is made of, or None.
    """

    def __init__(self, restriction: Restriction, subnetwork: Subnetwork, source: str | None) -> None:
        self.restriction, self._subnetwork, self._source = restriction, subnetwork, source

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
        """What ``result.json`` says of it: where the mask is from, its size, and both norms, unclipped, over steps."""
        mask, norms = self.restriction.mask, self.restriction.norms
        full, masked = (math.fsum(column) / len(norms) for column in zip(*norms, strict=True))
        hashes = {name: xxhash.xxh3_128_hexdigest(bits.tobytes()) for name, bits in mask.bits.items()}
        return {
            "arm": self._subnetwork.arm or "file",
            "at": self._subnetwork.at,
            "source": self._source,
            "mask": digest(mask.shapes, hashes),
            "k": mask.k,
            "n": mask.n,
            "clip": self._subnetwork.clip,
            "grad_norm": full,
            "grad_norm_masked": masked,
        }


def restrict(setting: Setting, init: Weights, source: Path | None = None) -> Restricted | None:
    """Restrict the training of ``setting`` to its config's mask, if it names one; ``init`` is the model's, as exported.

    ``source``: the directory of the run that an arm's mask is made of. Called before the trainer is built.
    """
    config = setting.config
    if config.subnetwork.mask is None:
        return None
    norm = config.algorithm.max_grad_norm
    restriction = Restriction(
        dict(setting.model.named_parameters()),
        _mask(setting, init, source),
        config.subnetwork.clip,
        math.inf if norm is None else norm,
    )
    restricted = Restricted(restriction, config.subnetwork, None if source is None else source.name)
    setting.callbacks.insert(0, restricted)  # before what writes the log down
    return restricted


def _mask(setting: Setting, init: Weights, source: Path | None) -> Mask:
    subnetwork = setting.config.subnetwork
    if subnetwork.file is not None:
        return Mask.load(subnetwork.file)
    assert source is not None
    assert subnetwork.arm is not None
    found = Mask.load(source / "mask.safetensors")
    # What is drawn, and which of equal scores come in, differs from seed to seed as all else does.
    seed = derive_seed(setting.config.seed, "subnetwork")
    if subnetwork.arm in SCORES:
        scores = load_scores(source / f"early-{subnetwork.at}.safetensors", SCORES[subnetwork.arm])
        mask = arms.top(scores, found.k, seed)
    else:
        mask = ARMS[subnetwork.arm](found, init, seed)
    if mask.k == 0:
        raise RunError(f"the arm {subnetwork.arm} of run {source.name} is an empty mask: nothing would be trained")
    return mask
