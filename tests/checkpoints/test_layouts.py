"""Every layout that the documentation names: what is read gives PyTorch's counts, what is not says what converts it."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import subnetray
from subnetray.checkpoints.layouts import LAYOUTS, table
from subnetray.diff import main
from tests.checkpoints import pairs

Weights = dict[str, Tensor]


def _dense() -> Weights:
    """A model of two layers with more heads of queries than of keys, and an MLP with a gate."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (90, 32), "lm_head.weight": (90, 32)}
    for layer in range(2):
        at = f"model.layers.{layer}"
        for name, rows in zip("qkv", (64, 32, 32), strict=True):
            shapes |= {f"{at}.self_attn.{name}_proj.weight": (rows, 32), f"{at}.self_attn.{name}_proj.bias": (rows,)}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (48, 32) for name in ("gate", "up")}
        shapes |= {f"{at}.mlp.experts.{e}.{name}_proj.weight": (16, 32) for e in range(3) for name in ("gate", "up")}
        shapes |= {f"{at}.mlp.experts.{e}.down_proj.weight": (32, 16) for e in range(3)}
    return {name: (0.02 * torch.randn(shape, generator=generator)).bfloat16() for name, shape in shapes.items()}


def _to(directory: Path, name: str, weights: Weights) -> Path:
    directory.mkdir(exist_ok=True)
    save_file({each: tensor.contiguous() for each, tensor in weights.items()}, directory / name)
    return directory


def _pickled(directory: Path, weights: Weights, **how: bool) -> Path:
    directory.mkdir()
    torch.save(dict(weights), directory / "pytorch_model.bin", **how)
    return directory


def _transposed(directory: Path, weights: Weights) -> Path:
    """As a tied or a converted head may be: columns first, so that what is read is a copy and no page of the file."""
    return _pickled(directory, {name: tensor.t().contiguous().t() for name, tensor in weights.items()})


def _shards(directory: Path, weights: Weights) -> Path:
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2]), 1):
        _to(directory, f"model-0000{number}-of-00002.safetensors", {name: weights[name] for name in part})
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
    writer.add_block_count(2)
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
        bits = tensor.view(torch.int16).numpy().view(np.uint16)
        writer.add_tensor(found, bits.view(np.uint8), raw_dtype=GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return directory


def _adapter(directory: Path, weights: Weights) -> Path:
    """Two matrices with an adapter of rank 2, and a head that was trained whole, over the weights of ``init``."""
    _to(directory, "adapter_model.safetensors", _adapters(weights))
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


def _merged(weights: Weights) -> Weights:
    """As PEFT's merge_and_unload rounds: the product in fp32, then to bf16, then the sum."""
    found, adapters = dict(weights), _adapters(weights)
    found["lm_head.weight"] = adapters["base_model.model.lm_head.weight"]
    for name in ("q", "v"):
        at = f"model.layers.0.self_attn.{name}_proj"
        down, up = (adapters[f"base_model.model.{at}.lora_{each}.weight"].float() for each in "AB")
        found[f"{at}.weight"] = weights[f"{at}.weight"] + (up @ down * 4).bfloat16()
    return found


def _wrapped(directory: Path, weights: Weights) -> Path:
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
    _to(directory, "model.safetensors", found)
    (directory / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8}))
    return directory


def _renamed(directory: Path, weights: Weights) -> Path:
    return _to(
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
    found = dict(weights)
    for layer in range(2):
        at = f"model.layers.{layer}.self_attn"
        for kind in ("weight", "bias"):
            q, k, v = (found.pop(f"{at}.{name}_proj.{kind}") for name in "qkv")
            groups = [each.reshape(2, -1, 16, *each.shape[1:]) for each in (q, k, v)]
            found[f"{at}.qkv_proj.{kind}"] = torch.cat(groups, 1).reshape(-1, *q.shape[1:])
    return _to(directory, "model.safetensors", found)


def _gate_up(directory: Path, weights: Weights) -> Path:
    found = dict(weights)
    for layer in range(2):
        at = f"model.layers.{layer}.mlp"
        gate, up = (found.pop(f"{at}.{name}_proj.weight") for name in ("gate", "up"))
        found[f"{at}.gate_up_proj.weight"] = torch.cat([gate, up])
    return _to(directory, "model.safetensors", found)


def _experts(directory: Path, weights: Weights) -> Path:
    """Transposed, gate and up in turn, as in GPT-OSS."""
    found = dict(weights)
    for layer in range(2):
        at = f"model.layers.{layer}.mlp.experts"
        gates, ups, downs = (
            torch.stack([found.pop(f"{at}.{e}.{name}_proj.weight") for e in range(3)])
            for name in ("gate", "up", "down")
        )
        found[f"{at}.gate_up_proj"] = torch.stack([gates, ups], 2).reshape(3, 32, 32).transpose(1, 2)
        found[f"{at}.down_proj"] = downs.transpose(1, 2)
    return _to(directory, "model.safetensors", found)


Maker = Callable[[Path, Weights], Path]
MOVED: dict[str, Maker] = {
    "model.safetensors": lambda path, weights: pairs.save(path, weights),
    "model.safetensors.index.json": lambda path, weights: pairs.save(path, weights, shards=3),
    "pytorch_model.bin": lambda path, weights: _pickled(path, weights),
    "pytorch_model.bin of before 1.6": lambda path, weights: _pickled(
        path, weights, _use_new_zipfile_serialization=False
    ),
    "shards without an index": _shards,
    "one safetensors file of any name": lambda path, weights: _to(path, "consolidated.safetensors", weights),
    "torch.distributed.checkpoint": _distributed,
    "GGUF": _gguf,
    "wrappers in names": _renamed,
    "q, k, v in one": _by_heads,
    "gate and up in one": _gate_up,
    "experts in one": _experts,
}
# Of which other tests have the counts, each in a file of its own.
ELSEWHERE = {"tied embeddings", "resized vocabulary", "FP8 with scales", "int8 with scales"}


def test_a_matrix_that_is_pickled_columns_first_is_read_as_often_as_asked(tmp_path: Path) -> None:
    init = {"a.weight": (0.02 * torch.randn(300, 700)).bfloat16()}
    final = pairs.moved(init)
    found = pairs.diff(pairs.save(tmp_path / "init", init), _transposed(tmp_path / "final", final), tmp_path / "out")
    assert (found["tensors"][0]["changed_bitwise"], found["n"]) == _count(init, final)
    same = pairs.diff(tmp_path / "final", tmp_path / "final", tmp_path / "same", "rank=true")
    assert same["sparsity"]["bitwise"] == 1


def _count(init: Weights, final: Weights) -> tuple[int, int]:
    return sum(int((init[name] != final[name]).sum()) for name in init), sum(tensor.numel() for tensor in init.values())


@pytest.mark.parametrize("back", [False, True], ids=["", "back"])
@pytest.mark.parametrize("name", MOVED)
def test_what_is_read_is_counted_as_pytorch_counts_it(tmp_path: Path, name: str, back: bool) -> None:
    init = _dense()
    if name == "GGUF":  # whose experts are stacked under names of their own
        init = {each: tensor for each, tensor in init.items() if "experts" not in each}
    final = pairs.moved(init)
    one, two = pairs.save(tmp_path / "init", init), MOVED[name](tmp_path / "final", final)
    found = pairs.diff(*((two, one) if back else (one, two)), tmp_path / "out")
    assert (sum(each["changed_bitwise"] for each in found["tensors"]), found["n"]) == _count(init, final)
    assert found["coverage"]["share"] == 1
    assert found["skipped"] == []


@pytest.mark.parametrize("name", ["PEFT adapter", "LoRA saved whole"])
def test_an_adapter_is_compared_as_the_model_that_it_makes(tmp_path: Path, name: str) -> None:
    init = _dense()
    final = _merged(init)
    one = pairs.save(tmp_path / "init", init)
    two = _adapter(tmp_path / "final", init) if name == "PEFT adapter" else _wrapped(tmp_path / "final", init)
    found = pairs.diff(one, two, tmp_path / "out")
    assert (sum(each["changed_bitwise"] for each in found["tensors"]), found["n"]) == _count(init, final)
    assert found["coverage"]["share"] == 1
    # The merged model is what was compared.
    same = pairs.diff(pairs.save(tmp_path / "merged", final), two, tmp_path / "same") if "whole" in name else None
    assert same is None or same["sparsity"]["bitwise"] == 1


def _zero(path: Path) -> None:
    (path / "global_step1").mkdir(parents=True)
    (path / "latest").write_text("global_step1")
    torch.save({}, path / "global_step1" / "mp_rank_00_model_states.pt")


def _verl(path: Path) -> None:
    path.mkdir()
    torch.save({}, path / "model_world_size_2_rank_0.pt")


def _text(path: Path, name: str, text: str = "") -> None:
    path.mkdir()
    (path / name).write_text(text)


def _quantised(path: Path, method: str, tensors: Weights) -> None:
    _to(path, "model.safetensors", tensors | {"model.norm.weight": torch.ones(9)})
    (path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": method}}))


AT = "model.layers.0.mlp.up_proj"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "GPTQ, AWQ": (lambda path: _quantised(path, "gptq", {f"{AT}.qweight": torch.ones(4, 4).int()}), "GPTQ"),
    "bitsandbytes": (
        lambda path: _quantised(
            path, "bitsandbytes", {f"{AT}.weight": torch.ones(4, 4).char(), f"{AT}.SCB": torch.ones(4)}
        ),
        "bitsandbytes int8",
    ),
    "MXFP4, NVFP4": (
        lambda path: _quantised(
            path,
            "mxfp4",
            {f"{AT}_blocks": torch.ones(2, 4, 1, 16).byte(), f"{AT}_scales": torch.ones(2, 4, 1).byte()},
        ),
        "Mxfp4Config",
    ),
    "DeepSpeed ZeRO": (_zero, "zero_to_fp32.py"),
    "verl": (_verl, "python -m verl.model_merger"),
    "Megatron": (lambda path: _text(path, "latest_checkpointed_iteration.txt", "10"), "Megatron"),
    "Flax, TensorFlow": (lambda path: _text(path, "flax_model.msgpack"), "from_flax=True"),
    "Git LFS pointer": (
        lambda path: _text(path, "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "git lfs pull",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named_with_what_converts_it(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, text = REFUSED[name]
    make(tmp_path / "final")
    init = {"model.norm.weight": torch.ones(9), f"{AT}.weight": torch.ones(9, 9)}
    one = pairs.save(tmp_path / "init", init)
    assert main([f"init={one}", f"final={tmp_path / 'final'}", f"out={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err.strip()
    assert text in said
    assert len(said.splitlines()) == 1
    assert len(said) <= 500
    assert not (tmp_path / "out").exists()


def test_the_documentation_has_the_table_that_these_tests_make() -> None:
    text = (Path(subnetray.__file__).parents[1] / "docs" / "diff.md").read_text()
    assert table() in text
    read, refused = ({each.name for each in LAYOUTS if each.read == read} for read in (True, False))
    assert read == {*MOVED, *ELSEWHERE, "PEFT adapter", "LoRA saved whole"}
    assert refused == REFUSED.keys()
