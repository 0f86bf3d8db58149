"""TRL by itself: imported before any of its trainers, and every name of it that is replaced or written over.

Held by tests with TRL 1.16.0. Without one of these names trainers are slower, and make the same steps. Methods that
trainers here override are looked for when one is made (:func:`require`): without them it would train something else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from subnetray.private import reach, replace, unless_gone

_PARTS = "trl.trainer.utils"
_CHUNK = "_CHUNKED_LOGPROB_CHUNK_SIZE"


def require(trainer: str, *methods: str) -> None:
    """Raise :class:`subnetray.private.Gone` unless ``trainer`` of TRL has all methods that are overridden here.

    There is no public way: one that TRL calls otherwise would never be called, and the loss be another one.
    """
    for method in methods:
        reach("trl", f"{trainer}.{method}")


def leave_vllm_out() -> None:
    """Have TRL not import vLLM, where that is installed: for engines of its own, which no run has.

    Of a run's process that is a third of the imports. Without: it imports vLLM.
    """
    with unless_gone("TRL imports vLLM, and runs begin later"):
        replace("trl.import_utils", "is_vllm_available", lambda min_version=None: False)


def pad_at_once() -> None:
    """Have TRL pad batches by :func:`pad`. Without: row by row in Python."""
    with unless_gone("batches are padded more slowly"):
        replace(_PARTS, "pad", pad)


def skip_logits_of_prompts() -> None:
    """Have the head compute no logits of prompts and padding, which are of no use: without Triton TRL has it do so, for
    processors that compile anew for every number of tokens, which those that train here do not.

    Without: it computes them, and drops them.
    """
    with unless_gone("logits of prompts are computed too"):
        replace(_PARTS, "_use_triton", lambda device: True)


def fit_head(vocabulary: int) -> None:
    """Have trainers of TRL, from now on, make no room for more logits a token than a ``vocabulary`` has.

    They do for 32768: of a small one, getting that memory takes far longer than the logits do. Without: they do.
    """
    if _LOGITS is not None:
        with unless_gone("more memory is got for logits than they take"):
            replace(_PARTS, _CHUNK, min(_LOGITS, vocabulary))


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


_pad: Any = None
_LOGITS: int | None = None
with unless_gone("batches are padded more slowly"):
    _pad = reach(_PARTS, "pad")
with unless_gone("more memory is got for logits than they take"):
    _LOGITS = int(reach(_PARTS, _CHUNK))
leave_vllm_out()
pad_at_once()
skip_logits_of_prompts()
