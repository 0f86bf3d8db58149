"""ORPO: likelihood of the preferred completion, and its odds against the other's; no reference model."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import Trainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from subnetray.algorithms.shared.preferences import (
    CountedTokens,
    ExactLogprobs,
    experimental_arguments,
    experimental_parts,
)
from subnetray.algorithms.shared.setting import Setting


class _ORPOTrainer(CountedTokens, ExactLogprobs, ORPOTrainer):
    """TRL's trainer, its likelihood that of the completion given the prompt (arXiv 2403.07691, eq. 6).

    TRL's own counts the prompt's tokens too, which no other algorithm here trains on.
    """

    def concatenated_forward(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Mean log-probabilities (pairs,) and logits of both completions, and the NLL of a token of the preferred."""
        chosen, rejected, chosen_logits, rejected_logits, _, *rest = super().concatenated_forward(model, batch)
        tokens = (batch["chosen_labels"][:, 1:] >= 0).sum(-1)
        nll = -(chosen * tokens).sum() / tokens.sum()
        return chosen, rejected, chosen_logits, rejected_logits, nll, *rest


def build(setting: Setting) -> Trainer:
    """Return a trainer of NLL_w − β log σ(logit p_w − logit p_l), log p the mean log-probability of a token."""
    return _ORPOTrainer(args=ORPOConfig(**experimental_arguments(setting)), **experimental_parts(setting))
