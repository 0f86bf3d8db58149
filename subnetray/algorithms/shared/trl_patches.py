"""TRL by itself: imported before any of its trainers.

Where vLLM is installed TRL imports it for engines of its own, which no run has: a third of a run's process's imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

_utilities: Any = import_module("trl.import_utils")
_utilities.is_vllm_available = lambda min_version=None: False

_parts: Any = import_module("trl.trainer.utils")
_LOGITS = int(_parts._CHUNKED_LOGPROB_CHUNK_SIZE)
_pad = _parts.pad


def pad(
    tensors: list[Tensor], padding_value: int = 0, padding_side: str = "right", pad_to_multiple_of: int | None = None
) -> Tensor:
    """TRL's own, which goes through a batch row by row in Python: that takes thirty times as long, PyTorch's thrice."""
    if pad_to_multiple_of is not None or any(tensor.ndim != 1 for tensor in tensors):
        whole: Tensor = _pad(tensors, padding_value, padding_side, pad_to_multiple_of)
        return whole
    lengths, values = torch.tensor([tensor.shape[0] for tensor in tensors]), torch.cat(tensors)
    width = int(lengths.max())
    places = torch.arange(width)
    inside = places < lengths[:, None] if padding_side == "right" else places >= width - lengths[:, None]
    padded = values.new_full(inside.shape, padding_value)
    padded[inside.to(values.device)] = values
    return padded


_parts.pad = pad
# Without Triton TRL has the head compute logits of prompts and padding too, which are of no use: for processors that
# compile anew for every number of tokens, which those that train here do not.
_parts._use_triton = lambda device: True


def fit_head(vocabulary: int) -> None:
    """Have trainers of TRL, from now on, make no room for more logits a token than a ``vocabulary`` has.

    They do for 32768: of a small one, getting that memory takes far longer than the logits do.
    """
    _parts._CHUNKED_LOGPROB_CHUNK_SIZE = min(_LOGITS, vocabulary)
