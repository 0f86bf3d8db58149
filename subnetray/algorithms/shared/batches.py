"""Batches of what is trained on, as TRL's own collators make them, of examples as they are.

TRL fetches rows of columns from `datasets` and makes a tensor a row and column: of a small model's step a tenth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Trainer

from subnetray.algorithms.shared.setting import Example, Setting, trainer_arguments
from subnetray.private import Gone
from subnetray.subnetwork.files.state import State

Batch = dict[str, Tensor]

IGNORED = -100  # the label that a loss skips


@dataclass(frozen=True)
class Row:
    """Two completions, one preferred and the other not, or one that is desirable or not and a mismatched one.

    ``reference``: the log-probability of each by the init, NaN until it is asked.
    """

    examples: tuple[Example, Example]
    desirable: bool = True
    reference: tuple[float, float] = (math.nan, math.nan)


class OnExamples:
    """Mixin before a trainer of TRL: its data are token ids already, in rows of our own (see :func:`train_on`)."""

    _total_train_tokens: int

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def floating_point_ops(self, _: dict[str, Any]) -> int:
        """Not counted: nobody reads it, and it takes a walk through the model a pass."""
        return 0

    def kept(self) -> State:
        """Return what TRL counts up from step to step (``_total_train_tokens``, for which it has no public name).

        Raises :class:`Gone` without: the count that is logged would begin anew.
        """
        if not hasattr(self, "_total_train_tokens"):
            raise Gone("TRL's trainer has no _total_train_tokens: what it counts cannot be kept")
        return State({}, {"tokens": self._total_train_tokens})

    def resume(self, state: State) -> None:
        """Go on from there."""
        self._total_train_tokens = state.values["tokens"]


def example_arguments(setting: Setting) -> dict[str, Any]:
    """Arguments of ``transformers.TrainingArguments`` for rows of our own, which come in the order they are given."""
    return {
        **trainer_arguments(setting),
        "remove_unused_columns": False,
        "train_sampling_strategy": "sequential",
    }


def example_parts(setting: Setting, batch_of: Callable[[Sequence[Any], int], Batch]) -> dict[str, Any]:
    """What a trainer of TRL is made with beside those; ``batch_of`` makes a batch of rows and of what pads it."""
    pad = pad_id(setting.tokenizer)
    return {
        "model": setting.model,
        # TRL takes nothing but columns of `datasets`, and looks at their names: these are none that it knows.
        "train_dataset": Dataset.from_dict({"row": [0]}),
        "data_collator": lambda rows: batch_of(rows, pad),
        "processing_class": setting.tokenizer,
        "callbacks": setting.callbacks,
    }


def train_on(trainer: Trainer, rows: Sequence[Any]) -> Trainer:
    """Have ``trainer``, made of :func:`example_parts`, train on ``rows``."""
    trainer.train_dataset = rows
    return trainer


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """What batches are padded with; a ``tokenizer`` without such a token gets one, as TRL's trainers give it."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return int(tokenizer.pad_token_id)


def padded(examples: Sequence[Example], pad: int) -> Batch:
    """``input_ids``, ``attention_mask`` and ``completion_mask``, int64 (examples, tokens), padded on the right."""
    prompts = np.array([len(example.prompt) for example in examples])[:, None]
    lengths = prompts + np.array([len(example.completion) for example in examples])[:, None]
    tokens = np.arange(lengths.max())
    present = tokens < lengths
    ids = np.full(present.shape, pad)
    parts = chain.from_iterable((example.prompt, example.completion) for example in examples)
    ids[present] = np.fromiter(chain.from_iterable(parts), np.int64, lengths.sum())
    masks = {"attention_mask": present, "completion_mask": present & (tokens >= prompts)}
    return {"input_ids": torch.from_numpy(ids)} | {
        name: torch.from_numpy(mask.astype(np.int64)) for name, mask in masks.items()
    }


def labelled(examples: Sequence[Example], pad: int) -> Batch:
    """As SFT's trainer takes it: ids, mask, and labels that are the tokens of completions."""
    batch = padded(examples, pad)
    labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, IGNORED)
    return batch | {"labels": labels}


def paired(rows: Sequence[Row], pad: int) -> Batch:
    """As DPO's trainer takes it: first all preferred completions, then all others."""
    examples = [example for each in zip(*(row.examples for row in rows), strict=True) for example in each]
    chosen, rejected = torch.tensor([row.reference for row in rows]).unbind(1)
    return padded(examples, pad) | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}


def judged(rows: Sequence[Row], pad: int) -> Batch:
    """As KTO's trainer takes it: completions, mismatched ones, and which of the former are desirable."""
    completions, mismatched = (padded(each, pad) for each in zip(*(row.examples for row in rows), strict=True))
    reference, mismatch = torch.tensor([row.reference for row in rows]).unbind(1)
    return {
        **completions,
        **{f"KL_{name}": tensor for name, tensor in mismatched.items()},
        "ref_logps": reference,
        "ref_KL_logps": mismatch,
        "label": torch.tensor([row.desirable for row in rows]),
    }


def apart(pairs: Sequence[tuple[Example, Example]], pad: int) -> Batch:
    """As TRL's experimental trainers take pairs: the preferred completions and the others, each padded by itself."""
    sides = zip(("chosen", "rejected"), zip(*pairs, strict=True), strict=True)
    return {f"{name}_{key}": tensor for name, side in sides for key, tensor in labelled(side, pad).items()}
