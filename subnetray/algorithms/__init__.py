"""The algorithms: each makes a trainer of TRL from a setting; one file an algorithm, what they share in ``shared``."""

from __future__ import annotations

from importlib import import_module

from transformers import Trainer

from subnetray.algorithms.shared import trl_patches  # isort: skip
from subnetray.algorithms.shared.setting import Setting
from subnetray.config import ALGORITHMS, Algorithm


def _module(algorithm: type[Algorithm]) -> str:
    name = algorithm.MODULE or algorithm.name
    return name if "." in name else f"{__name__}.{name}"


# Before the first run, in whose time it would be otherwise.
for _algorithm in ALGORITHMS.values():
    if not _algorithm.EXPERIMENTAL:
        import_module(_module(_algorithm))


def build(setting: Setting) -> Trainer:
    """Return the trainer that runs the algorithm of ``setting.config``, its training data prepared."""
    trl_patches.fit_head(setting.model.config.get_text_config().vocab_size)
    trainer: Trainer = import_module(_module(type(setting.config.algorithm))).build(setting)
    return trainer


__all__ = ["Setting", "build"]
