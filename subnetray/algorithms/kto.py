"""KTO: single completions, desirable or not, against a reference point that completions of other prompts give."""

from __future__ import annotations

from datasets import Dataset
from transformers import Trainer
from trl import KTOConfig, KTOTrainer

from subnetray.algorithms.preferences import Tokenized, labelled_of
from subnetray.algorithms.setting import Setting, trainer_arguments


class _TokenizedKTOTrainer(Tokenized, KTOTrainer):
    """TRL's trainer on completions that are token ids already, the mismatched ones among them."""


def build(setting: Setting) -> Trainer:
    """Return a trainer of λ_D(1 − σ(β(lr − z))) on desirable, λ_U(1 − σ(β(z − lr))) on undesirable completions.

    lr is a completion's log-ratio to the init, and z, at least 0 and without gradient, the mean log-ratio of the
    batch's completions, each after the prompt of the next.
    """
    algorithm = setting.config.algorithm
    arguments = trainer_arguments(setting)
    labelled = labelled_of(setting)
    completions = [example.completion for example, _ in labelled]
    size = arguments["per_device_train_batch_size"]  # z is taken over what one worker trains on in a step
    batches = [completions[start : start + size] for start in range(0, len(completions), size)]
    dataset = Dataset.from_dict(
        {
            "prompt_ids": [example.prompt for example, _ in labelled],
            "completion_ids": completions,
            "KL_completion_ids": [ids for batch in batches for ids in [batch[-1], *batch[:-1]]],
            "label": [desirable for _, desirable in labelled],
        }
    )
    return _TokenizedKTOTrainer(
        model=setting.model,
        ref_model=setting.load(),
        args=KTOConfig(
            **arguments,
            beta=algorithm.beta,
            desirable_weight=algorithm.desirable_weight,
            undesirable_weight=algorithm.undesirable_weight,
            max_length=None,
            train_sampling_strategy="sequential",
        ),
        train_dataset=dataset,
        processing_class=setting.tokenizer,
        callbacks=setting.callbacks,
    )
