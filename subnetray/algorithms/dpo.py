"""DPO: pairs of completions, one preferred; sampled from the init and judged by the reward, or made from the gold."""

from __future__ import annotations

from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer

from subnetray.algorithms.preferences import Tokenized, pairs_of
from subnetray.algorithms.setting import Setting, trainer_arguments


class _TokenizedDPOTrainer(Tokenized, DPOTrainer):
    """TRL's trainer on pairs that are token ids already."""


def build(setting: Setting) -> Trainer:
    """Return a trainer of −log σ(β[(lp_w − ref_w) − (lp_l − ref_l)]); pairs are in the order they are trained on.

    With the loss ``sigmoid_norm`` each log-ratio is divided by the tokens of its completion.
    """
    pairs = pairs_of(setting)
    dataset = Dataset.from_dict(
        {
            "prompt_ids": [chosen.prompt for chosen, _ in pairs],
            "chosen_ids": [chosen.completion for chosen, _ in pairs],
            "rejected_ids": [rejected.completion for _, rejected in pairs],
        }
    )
    return _TokenizedDPOTrainer(
        model=setting.model,
        ref_model=setting.load(),
        args=DPOConfig(
            **trainer_arguments(setting),
            beta=setting.config.algorithm.beta,
            loss_type=setting.config.algorithm.loss,
            max_length=None,
            train_sampling_strategy="sequential",
        ),
        train_dataset=dataset,
        processing_class=setting.tokenizer,
        callbacks=setting.callbacks,
    )
