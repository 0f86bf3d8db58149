"""SmolLM2 from its package: the weights that the file says, a tied head, a tokenizer that transformers rebuilds."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from subnetray import models
from subnetray.config import ConfigError, SmolLM2Model
from subnetray.models import smollm2


@pytest.fixture(scope="module")
def made() -> Path:
    """In the cache that sweeps use by default: unpacking takes 20 s."""
    return models.prepare(SmolLM2Model(), models.default_cache(), print)


@pytest.fixture(scope="module")
def tokenizer(made: Path) -> Any:
    return AutoTokenizer.from_pretrained(made, local_files_only=True)


def test_it_is_whole_bf16_and_its_head_is_tied(made: Path) -> None:
    models.pretrained.validate(made)
    tensors = load_file(made / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in tensors
    assert sum(tensor.numel() for tensor in tensors.values()) == 134_515_008
    config = json.loads((made / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert "quantization_config" not in config
    assert (config["model_type"], config["num_hidden_layers"], config["hidden_size"]) == ("llama", 30, 576)


def test_weights_are_those_of_the_file(made: Path) -> None:
    """Unpacked by the gguf package itself, rounded once; queries are stored with the halves of a head interleaved."""
    tensors = load_file(made / "model.safetensors")
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(smollm2._weights()).tensors}

    def unpacked(name: str) -> torch.Tensor:
        tensor = stored[name]
        return torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)).bfloat16()

    assert torch.equal(tensors["model.embed_tokens.weight"], unpacked("token_embd.weight"))
    assert torch.equal(tensors["model.norm.weight"], unpacked("output_norm.weight"))
    assert torch.equal(tensors["model.layers.7.mlp.down_proj.weight"], unpacked("blk.7.ffn_down.weight"))
    queries = unpacked("blk.29.attn_q.weight").view(9, 32, 2, 576).transpose(1, 2).reshape(576, 576)
    assert torch.equal(tensors["model.layers.29.self_attn.q_proj.weight"], queries)


def test_special_tokens_and_digits(tokenizer: Any) -> None:
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert tokenizer.model_max_length == 8192
    assert tokenizer.tokenize("is 123 and  45") == ["is", "Ġ", "1", "2", "3", "Ġand", "ĠĠ", "4", "5"]
    text = "héllo\n x = 10 -> 日本"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_is_kept(tokenizer: Any) -> None:
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
    )
    assert rendered.startswith("<|im_start|>system\n")
    assert rendered.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer(rendered)["input_ids"].count(tokenizer.eos_token_id) == 2


def test_it_is_made_once_and_named_by_its_content(made: Path) -> None:
    before = (made / "model.safetensors").stat()
    logged: list[str] = []
    assert models.prepare(SmolLM2Model(name="label"), made.parent.parent, logged.append) == made
    assert (made / "model.safetensors").stat() == before
    assert logged == []
    assert models.model_key(SmolLM2Model(name="label"))["sha256"].startswith("b179c9523d0e")


def test_a_package_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    found = util.find_spec
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None if name == "gguf" else found(name))
    with pytest.raises(ConfigError, match=r"^model=smollm2_135m needs gguf: write pip install --no-deps gguf"):
        models.check(SmolLM2Model())
