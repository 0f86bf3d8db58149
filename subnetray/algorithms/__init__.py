"""The algorithms: each makes a trainer of TRL from a setting; one file an algorithm, what they share beside them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from transformers import Trainer

from subnetray.algorithms.shared import trl_patches  # isort: skip
from subnetray.algorithms import dpo, grpo, kto, ppo, prime, raft, rloo, sft
from subnetray.algorithms.shared.setting import Setting

_BUILDERS: dict[str, Callable[[Setting], Trainer]] = {
    "grpo": grpo.build,
    "rloo": rloo.build,
    "ppo": ppo.build,
    "prime": prime.build,
    "raft": raft.build,
    "raft_plus_plus": raft.build,
    "sft": sft.build,
    "dpo": dpo.build,
    "kto": kto.build,
}
# TRL's experimental modules announce themselves when imported, unless told not to, which a run does first.
_IMPORTED_IN_THE_RUN = ("orpo", "simpo")


def build(setting: Setting) -> Trainer:
    """Return the trainer that runs the algorithm of ``setting.config``, its training data prepared."""
    name = setting.config.algorithm.name
    trl_patches.fit_head(setting.model.config.get_text_config().vocab_size)
    if name in _IMPORTED_IN_THE_RUN:
        return import_module(f"{__name__}.{name}").build(setting)
    return _BUILDERS[name](setting)


__all__ = ["Setting", "build"]
