"""Batches in which what sequences share is computed once, and padding is not computed.

Rollouts of one prompt share it, completions of a group begin alike or are the same, and a preferred completion and a
rejected one follow one prompt. What a causal decoder makes of a token depends on that and on the tokens before it
alone: sequences that begin alike have the same hidden states until they part. So a batch is a forest, in which a token
is a child of the one before it and children that are alike are one; its tokens are laid out in rows, and each sees
those that lead to it. Values and gradients are those of the batch as it came, but for the order of summation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

Integers = npt.NDArray[np.int64]

# Decoders of which that is known: every layer sees all earlier tokens, and nothing goes from one sequence to another.
_KNOWN = ("llama", "mistral", "qwen2", "qwen3")
# A row is as long as so many of the longest sequences: short ones repeat what two rows share, long ones cost attention.
_SEQUENCES = 3


@dataclass(frozen=True)
class Forest:
    """Tokens in rows: ``ids``, ``positions`` in their sequences, and ``ends``, all int64 (rows, width).

    A token is seen by itself and those after it in its row up to the place ``ends``, which is not among them. Places
    count through all rows; ``places``, int64 (sequences, tokens), says where each token of the batch is, 0 for padding.
    """

    ids: Integers
    positions: Integers
    ends: Integers
    places: Integers

    def visible(self) -> npt.NDArray[np.bool_]:
        """Which token sees which, (rows, tokens, tokens seen)."""
        rows, width = self.ids.shape
        places = np.arange(rows * width).reshape(rows, 1, width)
        later = places.reshape(rows, width, 1)
        visible: npt.NDArray[np.bool_] = (places <= later) & (later < self.ends.reshape(rows, 1, width))
        return visible


def forest(ids: Integers, mask: npt.NDArray[np.bool_]) -> Forest | None:
    """The forest of a batch, (sequences, tokens); None if one of its sequences is not in one piece, or is empty."""
    lengths = mask.sum(1)
    first = mask.argmax(1)
    longest = int(lengths.max())
    steps = np.arange(longest)
    columns = np.minimum(first[:, None] + steps, ids.shape[1] - 1)
    inside = steps < lengths[:, None]
    if not (lengths.min() > 0 and np.array_equal(np.take_along_axis(mask, columns, 1) & inside, inside)):
        return None
    tokens = np.where(inside, np.take_along_axis(ids, columns, 1), -1)

    # Sorted, sequences that begin alike are neighbours, and each adds to the one before it what follows their parting.
    order = np.lexsort(tokens.T[::-1])
    tokens, inside, lengths, first = tokens[order], inside[order], lengths[order], first[order]
    alike = (tokens[1:] == tokens[:-1]) & inside[1:]
    shared = np.concatenate([[0], np.logical_and.accumulate(alike, axis=1).sum(1)])
    row, offset, shared, width = _rows(lengths, shared, _SEQUENCES * longest)
    begins = row * width + offset
    new = inside & (steps >= shared[:, None])
    own = begins[:, None] + steps - shared[:, None]
    # A token that is not new is the newest in its column.
    places = np.maximum.accumulate(np.where(new, own, -1), axis=0)
    # It is seen until a sequence adds something in its column or before.
    size = (int(row[-1]) + 1) * width
    parts = np.where(steps >= shared[:, None], begins[:, None], size)
    ends = np.concatenate([np.minimum.accumulate(parts[:0:-1], axis=0)[::-1], np.full((1, longest), size)])

    packed = np.zeros((3, size), np.int64)
    packed[2] = size  # what fills a row up sees itself
    packed[:, places[new]] = tokens[new], np.broadcast_to(steps, new.shape)[new], ends[new]
    found = np.zeros(ids.shape, np.int64)
    sequences = np.broadcast_to(order[:, None], inside.shape)
    found[sequences[inside], (first[:, None] + steps)[inside]] = places[inside]
    rows = packed.reshape(3, -1, width)
    return Forest(rows[0], rows[1], rows[2], found)


def _rows(lengths: Integers, shared: Integers, most: int) -> tuple[Integers, Integers, Integers, int]:
    """Of each sequence its row, where in it that begins which it adds, and how much of it is there already.

    Of the first of a row nothing is. Last, the width of rows, ``most`` at most.
    """
    found = np.zeros((3, lengths.size), np.int64)
    number = used = width = 0
    for index, (length, common) in enumerate(zip(lengths.tolist(), shared.tolist(), strict=True)):
        if used + length - common > most:
            number, used, common = number + 1, 0, 0
        found[:, index] = number, used, common
        used += length - common
        width = max(width, used)
    return found[0], found[1], found[2], width


class _Shared:
    """Hooks of a decoder: what it is given is laid out as a forest, and what it returns is as if it were not."""

    def __init__(self, hidden_size: int) -> None:
        # Of a layer some 12 h^2 multiplications of a token are matrix products, and 2 h a token that it sees attention.
        self._worth = 6 * hidden_size
        self._places: Tensor | None = None

    def before(self, decoder: PreTrainedModel, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        self._places = None
        given = {name for name, value in kwargs.items() if value is not None and value is not False}
        if args or given != {"input_ids", "attention_mask"} or "use_cache" not in kwargs:
            return None
        ids, mask = kwargs["input_ids"], kwargs["attention_mask"]
        found = forest(ids.numpy(), mask.numpy().astype(bool))
        if found is None or self._cost(found.ids) >= self._cost(ids):
            return None
        self._places = torch.from_numpy(found.places)
        visible = torch.from_numpy(found.visible())[:, None]
        lowest = torch.finfo(decoder.dtype).min
        return args, {
            **kwargs,
            "input_ids": torch.from_numpy(found.ids),
            "position_ids": torch.from_numpy(found.positions),
            "attention_mask": torch.full(visible.shape, lowest, dtype=decoder.dtype).masked_fill_(visible, 0),
        }

    def after(self, _: nn.Module, __: Any, output: BaseModelOutputWithPast) -> BaseModelOutputWithPast:
        if self._places is not None:
            assert output.last_hidden_state is not None
            # The gradient of an embedding is the fastest sum of rows that PyTorch has.
            output.last_hidden_state = nn.functional.embedding(self._places, output.last_hidden_state.flatten(0, 1))
        return output

    def _cost(self, ids: Tensor | Integers) -> int:
        rows, width = ids.shape
        return rows * width * (self._worth + width)


def share_prefixes(model: PreTrainedModel) -> PreTrainedModel:
    """Have ``model`` compute what sequences of a batch share once, on a CPU and where its kind is known to allow that.

    It does so when it is given token ids and their mask alone, and ``use_cache=False``, as trainers do.
    """
    config = model.config
    if (
        model.device.type == "cpu"
        and config.model_type in _KNOWN
        and config.attention_dropout == 0
        and getattr(config, "sliding_window", None) is None
        and _attention(config) in ("eager", "sdpa")
    ):
        shared = _Shared(config.hidden_size)
        model.base_model.register_forward_pre_hook(shared.before, with_kwargs=True)
        model.base_model.register_forward_hook(shared.after)
    return model


def _attention(config: Any) -> str | None:
    """Return how a model computes attention, which transformers 5.23 keeps in a private name of its config alone.

    Without: None, of which nothing is known, so that every sequence is computed whole.
    """
    return getattr(config, "_attn_implementation", None)
