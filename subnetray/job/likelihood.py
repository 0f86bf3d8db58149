"""How likely the training data are to the init: the number that "in-distribution" means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from subnetray.algorithms.setting import Example

# Padded tokens of one forward pass, at most, and the logits of all of them: 0.25 GiB in fp32.
_TOKENS, _LOGITS = 8192, 1 << 26


def mean_nll(model: PreTrainedModel, examples: Sequence[Example], pad: int, temperature: float = 1.0) -> float:
    """Mean over all completion tokens of −log p(token), in nats, p at ``temperature``; NaN without tokens.

    The model is left in its mode.
    """
    total, tokens = 0.0, 0
    ordered = sorted(examples, key=lambda example: len(example.prompt) + len(example.completion))
    training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in _batches(ordered, min(_TOKENS, _LOGITS // model.config.vocab_size)):
            rows = [example.prompt + example.completion for example in batch]
            width = max(map(len, rows))
            ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=model.device)
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
            inputs = {"input_ids": ids[:, :-1], "attention_mask": mask[:, :-1], "use_cache": False}
            logits = model(**inputs).logits.float() / temperature
            nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(
                len(rows), -1
            )
            for example, row, values in zip(batch, rows, nll, strict=True):
                total += float(values[len(example.prompt) - 1 : len(row) - 1].sum())
                tokens += len(example.completion)
    model.train(training)
    return total / tokens if tokens else math.nan


def _batches(ordered: Sequence[Example], most: int) -> list[list[Example]]:
    """Of examples in order of length; one that is longer than ``most`` tokens is a batch of its own."""
    batches: list[list[Example]] = []
    for example in ordered:
        length = len(example.prompt) + len(example.completion)
        if batches and length * (len(batches[-1]) + 1) <= most:
            batches[-1].append(example)
        else:
            batches.append([example])
    return batches
