"""A decoder of random weights, as small as one can be that has all parts of a real one."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM


def decoder(seed: int = 0, **changes: Any) -> Qwen2ForCausalLM:
    """Two layers of width 32 over the embedded models' 16 tokens; ``changes`` are to its config."""
    torch.manual_seed(seed)
    shape = {
        **{"vocab_size": 16, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3},
    }
    return Qwen2ForCausalLM(Qwen2Config(**shape | changes))
