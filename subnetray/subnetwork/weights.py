"""Weights by name: taking them from a model, and naming their parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Weights = Mapping[str, Tensor]

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)(?:\.|$)")
_MODULES = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "o",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
    "embed_tokens": "embedding",
    "lm_head": "head",
}


def named_weights(model: torch.nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Parameters of ``model`` by name in state-dict order, detached and cast to ``dtype``; tied ones once (first name).

    The cast is the only rounding there is: it is what exporting the model in ``dtype`` does. A parameter that
    already has ``dtype`` (or any, if ``dtype`` is None) is returned as a view: clone it to keep it past the next step.

    Of parameters that workers share out among them (FSDP) the whole ones are gathered: all workers must ask together.
    """
    # named_parameters() yields a shared parameter once, under the name that the state dict lists first.
    return {name: whole(parameter.detach().to(dtype=dtype)) for name, parameter in model.named_parameters()}


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that workers share out among them, which all must ask for together; others as they are."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether ``tensor`` is one that workers share out among them."""
    # By what it can do: importing the class takes seconds, which a notebook need not pay.
    return hasattr(tensor, "full_tensor")


def held_values(held: Tensor, init: Tensor) -> Tensor:
    """What ``held`` holds now, for good: ``init``, the same in another dtype, if it has all of it exactly, or a copy.

    Of an fp32 master of a checkpoint that is stored in bf16, the bf16 init has all there is to keep.
    """
    held = held.detach()
    return init if init.device == held.device and torch.equal(init.to(held.dtype), held) else held.clone()


def module_kind(name: str) -> str:
    """What a parameter of a Llama, Qwen, Mistral or mixture-of-experts model is, by its name.

    One of q, k, v, o, gate, up, down, embedding, head, norm, bias, experts, other. Biases are ``bias`` wherever they
    are, weights of (shared) experts ``experts``; routers and fused projections are ``other``.
    """
    parts = name.split(".")
    if parts[-1] == "bias" or parts[-1].endswith("_bias"):
        return "bias"
    if any("norm" in part for part in parts):
        return "norm"
    if any(part in ("experts", "shared_expert", "shared_experts") for part in parts):
        return "experts"
    return next((_MODULES[part] for part in reversed(parts) if part in _MODULES), "other")


def layer_index(name: str) -> int | None:
    """Index of the decoder layer that a parameter belongs to; None outside of the layers."""
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None
