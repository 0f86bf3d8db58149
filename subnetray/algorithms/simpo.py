"""SimPO: mean log-probabilities of two completions, their difference at least a margin; no reference model."""

from __future__ import annotations

from transformers import Trainer
from trl.experimental.cpo import CPOConfig, CPOTrainer

from subnetray.algorithms.shared.preferences import (
    CountedTokens,
    ExactLogprobs,
    experimental_arguments,
    experimental_parts,
)
from subnetray.algorithms.shared.setting import Setting


class _SimPOTrainer(CountedTokens, ExactLogprobs, CPOTrainer):
    """TRL's trainer of CPO, which is SimPO without its likelihood term."""


def build(setting: Setting) -> Trainer:
    """Return a trainer of −log σ(β(mean lp_w − mean lp_l) − γ)."""
    return _SimPOTrainer(
        args=CPOConfig(
            **experimental_arguments(setting),
            loss_type="simpo",
            simpo_gamma=setting.config.algorithm.gamma,  # TRL divides by β, then multiplies by it
            cpo_alpha=0.0,
        ),
        **experimental_parts(setting),
    )
