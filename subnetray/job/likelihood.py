"""How likely the training data are to the init: the number that "in-distribution" means."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from subnetray.algorithms.shared.batches import padded
from subnetray.algorithms.shared.setting import Example

# Padded tokens of one forward pass, at most, and the logits of all of them: 0.25 GiB in fp32.
_TOKENS, _LOGITS = 8192, 1 << 26


def mean_nll(model: PreTrainedModel, examples: Sequence[Example], pad: int, temperature: float = 1.0) -> float:
    """Mean over all completion tokens of −log p(token), in nats, p at ``temperature``; NaN without tokens.

    The model is left in its mode.
    """
    counts = Counter(example.key for example in examples)
    # Equal ones are passed once, and beside each other are those that begin alike.
    distinct = {example.key: example for example in examples if example.completion}.values()
    ordered = sorted(distinct, key=lambda example: (len(example.prompt) + len(example.completion), example.key))
    total, tokens = 0.0, 0
    training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in _batches(ordered, min(_TOKENS, _LOGITS // model.config.vocab_size)):
            values, mask = _nll(model, batch, pad, temperature)
            often = torch.tensor([counts[example.key] for example in batch], device=mask.device)[:, None] * mask
            total += float((values.double() * often).sum())
            tokens += int(often.sum())
    model.train(training)
    return total / tokens if tokens else math.nan


def _nll(
    model: PreTrainedModel, examples: Sequence[Example], pad: int, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """−log p of all tokens from where the first completion begins, and which are a completion's, (examples, tokens)."""
    first = min(len(example.prompt) for example in examples)
    ids, mask, completions = (tensor.to(model.device) for tensor in padded(examples, pad).values())
    kept = ids.shape[1] - first
    inputs = {"input_ids": ids[:, :-1], "attention_mask": mask[:, :-1], "use_cache": False, "logits_to_keep": kept}
    logits = model(**inputs).logits.float() / temperature
    values = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, first:], reduction="none")
    return values, completions[:, first:]


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
