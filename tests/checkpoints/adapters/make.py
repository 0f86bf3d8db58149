"""Five adapters as PEFT writes them, each with its base, the wrapped model saved whole, and PEFT's own merge.

    pip install peft==0.21.2 && python -m tests.checkpoints.adapters.make

PEFT is no package of the lock, since TRL would import it in every process of every sweep: its files lie beside this.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

HERE = Path(__file__).parent
_ATTENTION = ["q_proj", "v_proj"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "attention": {"r": 2, "lora_alpha": 8, "target_modules": _ATTENTION},
    "patterns": {
        "r": 2,
        "lora_alpha": 4,
        "use_rslora": True,
        "rank_pattern": {"q_proj": 3},
        "alpha_pattern": {"layers.1.self_attn.v_proj": 16},
        "target_modules": "all-linear",
    },
    "head": {"r": 2, "target_modules": _ATTENTION, "modules_to_save": ["lm_head"]},
    "embedding": {"r": 2, "target_modules": ["embed_tokens", "q_proj"]},
    "conv1d": {"r": 2, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True, "bias": "lora_only"},
}


def _model(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if name == "conv1d":
        sizes = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 8}
        return GPT2LMHeadModel(GPT2Config(vocab_size=16, bos_token_id=0, eos_token_id=0, **sizes)).bfloat16()
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=16, num_key_value_heads=2, **sizes)).bfloat16()


def _make(name: str, settings: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    at = HERE / name
    shutil.rmtree(at, ignore_errors=True)
    base = _model(name)
    _save(at / "base", base.state_dict(), base)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path="base", **settings))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += (0.02 * torch.randn(parameter.shape, generator=generator)).to(parameter.dtype)
    model.save_pretrained(at / "adapter")
    (at / "adapter" / "README.md").unlink()
    _save(at / "whole", model.state_dict(), base)
    shutil.copy(at / "adapter" / "adapter_config.json", at / "whole")
    merged = model.merge_and_unload()
    _save(at / "merged", merged.state_dict(), base)


def _save(directory: Path, weights: dict[str, torch.Tensor], model: PreTrainedModel) -> None:
    directory.mkdir(parents=True)
    kept = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    save_file(kept, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps({"model_type": model.config.model_type}))


if __name__ == "__main__":
    for name, settings in ADAPTERS.items():
        _make(name, settings)
