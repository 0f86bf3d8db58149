"""Models of a run's init: how each is loaded, one that workers share out among them, and one without weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from subnetray.algorithms.shared.prefixes import share_prefixes
from subnetray.config import RunConfig
from subnetray.subnetwork.weights import named_weights

_SHORT = 256  # tokens


@dataclass(frozen=True)
class Placement:
    """A run holds a model in this way: in which dtype, on which device, and in how many parts.

    With ``shards`` > 1 the workers of the process group, as many, load it together, and each holds a part of every
    parameter (PyTorch's ``fully_shard``, by the plan that transformers has for the architecture).
    """

    dtype: torch.dtype
    device: torch.device
    shards: int = 1


def load(init: Path, config: RunConfig, placement: Placement, kind: Any = AutoModelForCausalLM) -> PreTrainedModel:
    """Load the model in the directory ``init``; ``kind`` is the class of transformers that it is to be one of."""
    device, shards = placement.device, placement.shards
    model: PreTrainedModel = kind.from_pretrained(
        init,
        dtype=placement.dtype,
        attn_implementation=attention(config, device),
        local_files_only=True,
        **sharding(shards),
    )
    # A model that is loaded in parts is put on its workers' devices by transformers.
    return share_prefixes(model if shards > 1 else model.to(device))


def sharding(shards: int) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for a model in so many parts; none for a whole one."""
    return {"distributed_config": {"fsdp_size": shards}} if shards > 1 else {}


def skeleton(init: Path, config: RunConfig, device: torch.device) -> PreTrainedModel:
    """The model in ``init`` without its weights (they are on the device ``meta``), whole, in evaluation mode."""
    shape = AutoConfig.from_pretrained(init, local_files_only=True)
    with init_empty_weights():  # buffers are real
        model: PreTrainedModel = AutoModelForCausalLM.from_config(shape, attn_implementation=attention(config, device))
    model.tie_weights()
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
    return model.eval()


def gathered(model: PreTrainedModel, init: Path, config: RunConfig) -> PreTrainedModel:
    """A whole copy of a ``model`` that its workers share out among them, which all of them must ask for together."""
    weights = named_weights(model)
    copy = skeleton(init, config, model.device)
    copy.load_state_dict(weights, strict=False, assign=True)  # tied parameters follow the one that has a name
    copy.tie_weights()
    return copy


def attention(config: RunConfig, device: torch.device) -> str:
    """How a run's models compute attention, by transformers' name for it.

    PyTorch's fused kernel is slow in bf16 on a CPU: over up to 256 tokens plain matrix products take between half of
    its time and a ninth (forward and backward), beyond 1000 twice as long.
    """
    short = config.rollout.max_model_len <= _SHORT
    return "eager" if device.type == "cpu" and config.precision != "fp32" and short else "sdpa"
