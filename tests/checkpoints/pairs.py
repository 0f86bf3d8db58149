"""Checkpoints that tests make, and what the command finds in them beside what weights in memory say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from subnetray.diff import main
from subnetray.subnetwork import compare

TOLERANCES = (0.0, 1e-8, 1e-6, 1e-5, 1e-4)


def weights(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (33, 16),
        "model.layers.0.self_attn.q_proj.weight": (16, 16),
        "model.layers.0.self_attn.q_proj.bias": (17,),
        "model.layers.1.mlp.down_proj.weight": (16, 40),
        "model.norm.weight": (16,),
        "lm_head.weight": (33, 16),
    }
    return {name: (0.02 * torch.randn(shape, generator=generator)).to(dtype) for name, shape in shapes.items()}


def moved(init: Mapping[str, Tensor], seed: int = 1, scale: float = 5e-5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (tensor.float() + scale * torch.randn(tensor.shape, generator=generator)).to(tensor.dtype)
        for name, tensor in init.items()
    }


def save(directory: Path, weights: Mapping[str, Tensor], shards: int = 1, **config: Any) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "qwen2", **config}))
    if shards == 1:
        save_file(dict(weights), directory / "model.safetensors")
        return directory
    names = sorted(weights)
    files = {name: f"model-{index % shards}.safetensors" for index, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: weights[name] for name in names if files[name] == file}, directory / file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return directory


def diff(init: Path, final: Path, out: Path, *words: str) -> dict[str, Any]:
    """Run the command without its heat map, which other tests look at and which takes most of the time."""
    with mock.patch("subnetray.reporting.pictures.heatmap.write_heat_map"):
        assert main([f"init={init}", f"final={final}", f"out={out}", *words]) == 0
    found: dict[str, Any] = json.loads((out / "diff.json").read_text())
    return found


def check(found: dict[str, Any], init: Mapping[str, Tensor], final: Mapping[str, Tensor]) -> None:
    expected = compare(init, final, TOLERANCES, (2, 4))
    assert found["n"] == expected.n
    assert found["sparsity"]["bitwise"] == expected.sparsity_bitwise
    assert found["sparsity"]["abs"]["1e-05"] == pytest.approx(1 - expected.density_abs[1e-5])
    by_name = {tensor.name: tensor for tensor in expected.tensors}
    for tensor in found["tensors"]:
        assert tensor["changed_bitwise"] == by_name[tensor["name"]].changed_bitwise
        assert tensor["changed_1e-06"] == by_name[tensor["name"]].changed_abs[1e-6]
        assert tensor["changed_4_ulps"] == by_name[tensor["name"]].changed_ulps[4]
