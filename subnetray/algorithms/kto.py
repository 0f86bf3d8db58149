"""KTO: single completions, desirable or not, against a reference point that completions of other prompts give."""

from __future__ import annotations

from transformers import Trainer
from trl import KTOConfig, KTOTrainer

from subnetray.algorithms.shared.batches import Row, example_arguments, example_parts, judged, train_on
from subnetray.algorithms.shared.preferences import labelled_of
from subnetray.algorithms.shared.reference import AskedOnce
from subnetray.algorithms.shared.setting import Example, Setting


class _ExampleKTOTrainer(AskedOnce, KTOTrainer):
    """TRL's trainer on examples, the mismatched ones among them."""


def build(setting: Setting) -> Trainer:
    """Return a trainer of λ_D(1 − σ(β(lr − z))) on desirable, λ_U(1 − σ(β(z − lr))) on undesirable completions.

    lr is a completion's log-ratio to the init, and z, at least 0 and without gradient, the mean log-ratio of the
    batch's completions, each after the prompt of the next.
    """
    algorithm = setting.config.algorithm
    arguments = example_arguments(setting)
    labelled = labelled_of(setting)
    trainer = _ExampleKTOTrainer(
        ref_model=setting.load(),
        args=KTOConfig(
            **arguments,
            beta=algorithm.beta,
            desirable_weight=algorithm.desirable_weight,
            undesirable_weight=algorithm.undesirable_weight,
            max_length=None,
        ),
        **example_parts(setting, judged),
    )
    # z is taken over what one worker trains on in a step.
    pairs = _mismatched([example for example, _ in labelled], arguments["per_device_train_batch_size"])
    desirable = (good for _, good in labelled)
    return train_on(trainer, list(map(Row, pairs, desirable)))


def _mismatched(examples: list[Example], size: int) -> list[tuple[Example, Example]]:
    """Each with its prompt before the completion of the one before it, in batches of ``size``."""
    batches = [examples[start : start + size] for start in range(0, len(examples), size)]
    return [
        (example, Example(example.prompt, other.completion))
        for batch in batches
        for example, other in zip(batch, [batch[-1], *batch[:-1]], strict=True)
    ]
