"""One model's weights in every layout that is read, each written by the tool that makes it where there is one."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.checkpoints import pairs

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model with heads of 16, a gated MLP and experts; ``scale`` is how far training moves weights."""

    heads: int = 4  # of queries
    groups: int = 2  # heads of keys and values
    hidden: int = 32
    inner: int = 48
    layers: int = 2
    experts: int = 3
    dtype: torch.dtype = torch.bfloat16
    scale: float = 5e-5

    @classmethod
    def of(cls, weights: Weights) -> Sizes:
        """Read the sizes of a model off its weights, as far as they stand in them."""
        at = "model.layers.0.self_attn"
        rows = [weights[f"{at}.{name}_proj.weight"].shape for name in "qk"]
        layers, experts = (
            len({found[1] for name in weights if (found := re.search(rf"{kind}\.(\d+)\.", name))})
            for kind in ("layers", "experts")
        )
        return cls(rows[0][0] // 16, rows[1][0] // 16, rows[0][1], layers=layers, experts=experts)


SIZES = (
    Sizes(),
    Sizes(heads=2, groups=2, layers=1, experts=2, scale=2e-6),  # as many heads of keys, and hardly a weight that moved
    Sizes(heads=6, groups=2, hidden=48, inner=32, dtype=torch.float16),
    Sizes(heads=3, groups=1, inner=40, layers=3, experts=4, scale=2e-3),  # one head of keys; nearly all weights moved
    Sizes(heads=8, groups=4, hidden=64, inner=64, experts=5, dtype=torch.float32, scale=1e-6),
)


def dense(sizes: Sizes = SIZES[0]) -> Weights:
    """Make a model of these sizes, before training."""
    generator = torch.Generator().manual_seed(0)
    hidden = sizes.hidden
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (90, hidden), "lm_head.weight": (90, hidden)}
    for layer in range(sizes.layers):
        at = f"model.layers.{layer}"
        for name, heads in zip("qkv", (sizes.heads, sizes.groups, sizes.groups), strict=True):
            rows = 16 * heads
            shapes |= {
                f"{at}.self_attn.{name}_proj.weight": (rows, hidden),
                f"{at}.self_attn.{name}_proj.bias": (rows,),
            }
        shapes |= {f"{at}.mlp.{name}_proj.weight": (sizes.inner, hidden) for name in ("gate", "up")}
        for expert in range(sizes.experts):
            of = f"{at}.mlp.experts.{expert}"
            shapes |= {f"{of}.gate_proj.weight": (16, hidden), f"{of}.up_proj.weight": (16, hidden)}
            shapes[f"{of}.down_proj.weight"] = (hidden, 16)
    return {name: (0.02 * torch.randn(shape, generator=generator)).to(sizes.dtype) for name, shape in shapes.items()}


def to_file(directory: Path, name: str, weights: Weights) -> Path:
    directory.mkdir(exist_ok=True)
    save_file({each: tensor.contiguous() for each, tensor in weights.items()}, directory / name)
    return directory


def _pickled(directory: Path, weights: Weights, **how: bool) -> Path:
    directory.mkdir()
    torch.save(dict(weights), directory / "pytorch_model.bin", **how)
    return directory


def transposed(directory: Path, weights: Weights) -> Path:
    """Write matrices columns first, as a converted head may be: what is read is a copy and no page of the file."""
    return _pickled(directory, {name: tensor.t().contiguous().t() for name, tensor in weights.items()})


def _shards(directory: Path, weights: Weights) -> Path:
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2]), 1):
        to_file(directory, f"model-0000{number}-of-00002.safetensors", {name: weights[name] for name in part})
    return directory


def _distributed(directory: Path, weights: Weights) -> Path:
    from torch.distributed.checkpoint.state_dict_saver import save

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save({"model": weights, "optim": {"exp_avg": torch.ones(7)}}, checkpoint_id=str(directory), no_dist=True)
    return directory


def _gguf(directory: Path, weights: Weights) -> Path:
    from gguf import GGMLQuantizationType, GGUFWriter

    directory.mkdir()
    writer = GGUFWriter(directory / "model.gguf", "qwen2")
    writer.add_block_count(Sizes.of(weights).layers)
    for name, tensor in weights.items():
        found = re.sub(r"^model\.layers\.(\d+)\.", r"blk.\1.", name)
        for old, new in (
            ("self_attn.", "attn_"),
            ("mlp.", "ffn_"),
            ("_proj", ""),
            ("model.embed_tokens", "token_embd"),
        ):
            found = found.replace(old, new)
        found = found.replace("lm_head", "output")
        if tensor.dtype == torch.bfloat16:
            bits = tensor.view(torch.int16).numpy().view(np.uint8)
            writer.add_tensor(found, bits, raw_dtype=GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(found, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return directory


def adapter(directory: Path, weights: Weights) -> Path:
    """Two matrices with an adapter of rank 2, and a head that was trained whole, over the weights of ``init``."""
    to_file(directory, "adapter_model.safetensors", _adapters(weights))
    said = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 2, "lora_alpha": 8, "use_rslora": False}
    (directory / "adapter_config.json").write_text(json.dumps(said))
    return directory


def _adapters(weights: Weights) -> Weights:
    generator = torch.Generator().manual_seed(3)
    found: Weights = {"base_model.model.lm_head.weight": weights["lm_head.weight"] + 1}
    for name in ("q", "v"):
        rows, columns = weights[f"model.layers.0.self_attn.{name}_proj.weight"].shape
        at = f"base_model.model.model.layers.0.self_attn.{name}_proj"
        found[f"{at}.lora_A.weight"] = (0.02 * torch.randn(2, columns, generator=generator)).bfloat16()
        found[f"{at}.lora_B.weight"] = (0.02 * torch.randn(rows, 2, generator=generator)).bfloat16()
    return found


def merged(weights: Weights) -> Weights:
    """Merge as PEFT's merge_and_unload rounds: the product in fp32, then to bf16, then the sum."""
    found, adapters = dict(weights), _adapters(weights)
    found["lm_head.weight"] = adapters["base_model.model.lm_head.weight"]
    for name in ("q", "v"):
        at = f"model.layers.0.self_attn.{name}_proj"
        down, up = (adapters[f"base_model.model.{at}.lora_{each}.weight"].float() for each in "AB")
        found[f"{at}.weight"] = weights[f"{at}.weight"] + (up @ down * 4).bfloat16()
    return found


def wrapped(directory: Path, weights: Weights) -> Path:
    found: Weights = {}
    for name, tensor in _adapters(weights).items():
        found[name.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")] = tensor
    head = found.pop("base_model.model.lm_head.weight")
    for name, tensor in weights.items():
        at = f"base_model.model.{name}"
        if name == "lm_head.weight":
            found["base_model.model.lm_head.original_module.weight"] = tensor
            found["base_model.model.lm_head.modules_to_save.default.weight"] = head
        elif at.replace(".weight", ".lora_A.default.weight") in found:
            found[at.replace(".weight", ".base_layer.weight")] = tensor
        else:
            found[at] = tensor
    to_file(directory, "model.safetensors", found)
    (directory / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8}))
    return directory


def _renamed(directory: Path, weights: Weights) -> Path:
    return to_file(
        directory,
        "model.safetensors",
        {
            name.replace("layers.0.", "layers.0._checkpoint_wrapped_module.")
            .replace("mlp.", "_fsdp_wrapped_module.mlp._orig_mod.")
            .replace("model.", "model.language_model."): tensor
            for name, tensor in weights.items()
        },
    )


def _by_heads(directory: Path, weights: Weights) -> Path:
    """q, k and v of each group of heads of 16 in turn, as in InternLM2 and Falcon."""
    found, sizes = dict(weights), Sizes.of(weights)
    for layer in range(sizes.layers):
        at = f"model.layers.{layer}.self_attn"
        for kind in ("weight", "bias"):
            q, k, v = (found.pop(f"{at}.{name}_proj.{kind}") for name in "qkv")
            groups = [each.reshape(sizes.groups, -1, 16, *each.shape[1:]) for each in (q, k, v)]
            found[f"{at}.qkv_proj.{kind}"] = torch.cat(groups, 1).reshape(-1, *q.shape[1:])
    return to_file(directory, "model.safetensors", found)


def _gate_up(directory: Path, weights: Weights) -> Path:
    found = dict(weights)
    for layer in range(Sizes.of(weights).layers):
        at = f"model.layers.{layer}.mlp"
        gate, up = (found.pop(f"{at}.{name}_proj.weight") for name in ("gate", "up"))
        found[f"{at}.gate_up_proj.weight"] = torch.cat([gate, up])
    return to_file(directory, "model.safetensors", found)


def _experts(directory: Path, weights: Weights) -> Path:
    """Transposed, gate and up in turn, as in GPT-OSS."""
    found, sizes = dict(weights), Sizes.of(weights)
    for layer in range(sizes.layers):
        at = f"model.layers.{layer}.mlp.experts"
        gates, ups, downs = (
            torch.stack([found.pop(f"{at}.{e}.{name}_proj.weight") for e in range(sizes.experts)])
            for name in ("gate", "up", "down")
        )
        found[f"{at}.gate_up_proj"] = torch.stack([gates, ups], 2).reshape(sizes.experts, 32, -1).transpose(1, 2)
        found[f"{at}.down_proj"] = downs.transpose(1, 2)
    return to_file(directory, "model.safetensors", found)


Maker = Callable[[Path, Weights], Path]
MOVED: dict[str, Maker] = {
    "model.safetensors": lambda path, weights: pairs.save(path, weights),
    "model.safetensors.index.json": lambda path, weights: pairs.save(path, weights, shards=3),
    "pytorch_model.bin": lambda path, weights: _pickled(path, weights),
    "pytorch_model.bin of before 1.6": lambda path, weights: _pickled(
        path, weights, _use_new_zipfile_serialization=False
    ),
    "shards without an index": _shards,
    "one safetensors file of any name": lambda path, weights: to_file(path, "consolidated.safetensors", weights),
    "torch.distributed.checkpoint": _distributed,
    "GGUF": _gguf,
    "wrappers in names": _renamed,
    "q, k, v in one": _by_heads,
    "gate and up in one": _gate_up,
    "experts in one": _experts,
}
