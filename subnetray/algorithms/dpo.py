"""DPO: pairs of completions, one preferred; sampled from the init and judged by the reward, or made from the gold."""

from __future__ import annotations

from transformers import Trainer
from trl import DPOConfig, DPOTrainer

from subnetray.algorithms.shared.batches import Row, example_arguments, example_parts, paired, train_on
from subnetray.algorithms.shared.preferences import pairs_of
from subnetray.algorithms.shared.reference import AskedOnce
from subnetray.algorithms.shared.setting import Setting


class _ExampleDPOTrainer(AskedOnce, DPOTrainer):
    """TRL's trainer on pairs of examples."""


def build(setting: Setting) -> Trainer:
    """Return a trainer of −log σ(β[(lp_w − ref_w) − (lp_l − ref_l)]); pairs are in the order they are trained on.

    With the loss ``sigmoid_norm`` each log-ratio is divided by the tokens of its completion.
    """
    pairs = pairs_of(setting)
    trainer = _ExampleDPOTrainer(
        ref_model=setting.load(),
        args=DPOConfig(
            **example_arguments(setting),
            beta=setting.config.algorithm.beta,
            loss_type=setting.config.algorithm.loss,
            max_length=None,
        ),
        **example_parts(setting, paired),
    )
    return train_on(trainer, list(map(Row, pairs)))
