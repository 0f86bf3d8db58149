"""Weights stored as 8-bit floats with scales: what is compared is code × scale, as in the models' own converters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from subnetray.checkpoints import open_checkpoint
from subnetray.checkpoints.stored import Scales, StoredTensor
from subnetray.diff import main
from subnetray.subnetwork import compare
from subnetray.subnetwork.bits import flat_integers

BLOCK = (4, 8)
NAME = "model.layers.0.mlp.up_proj.weight"


def _codes(shape: tuple[int, ...], seed: int = 0, kind: torch.dtype = torch.float8_e4m3fn) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(kind)


def _scales(shape: tuple[int, ...], block: tuple[int, int] = BLOCK, seed: int = 1) -> Tensor:
    blocks = (*shape[:-2], -(-shape[-2] // block[0]), -(-shape[-1] // block[1]))
    return 0.02 * torch.rand(blocks, generator=torch.Generator().manual_seed(seed)) + 1e-3


def _direct(codes: Tensor, scales: Tensor, block: tuple[int, int] = BLOCK) -> Tensor:
    """Coordinate by coordinate, with every factor spread over its block: fp32 values."""
    spread = scales.float().repeat_interleave(block[0], -2).repeat_interleave(block[1], -1)
    return codes.float() * spread[..., : codes.shape[-2], : codes.shape[-1]]


def _save(directory: Path, weights: dict[str, Tensor], block: Any = BLOCK, shards: bool = False) -> Path:
    directory.mkdir()
    config = {"quant_method": "fp8", "weight_block_size": None if block is None else list(block)}
    (directory / "config.json").write_text(json.dumps({"quantization_config": config}))
    if not shards:
        save_file(weights, directory / "model.safetensors")
        return directory
    # Scales in another file than the codes.
    files = {name: f"{'scales' if 'scale' in name else 'codes'}.safetensors" for name in weights}
    for file in set(files.values()):
        save_file({name: tensor for name, tensor in weights.items() if files[name] == file}, directory / file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return directory


def _read(directory: Path, start: int, stop: int, dtype: torch.dtype, name: str = NAME) -> Tensor:
    with open_checkpoint(directory, "init") as checkpoint:
        return torch.from_numpy(checkpoint.read(name, start, stop, dtype)).view(dtype)


def _same(one: Tensor, two: Tensor) -> bool:
    return one.dtype == two.dtype and np.array_equal(flat_integers(one), flat_integers(two))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 13), st.integers(1, 21)),
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 17)),
    ),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
    shards=st.booleans(),
)
def test_any_range_is_codes_times_the_scales_of_their_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    ends: tuple[float, float],
    dtype: torch.dtype,
    shards: bool,
) -> None:
    codes, scales = _codes(shape), _scales(shape)
    weights = {NAME: codes, f"{NAME}_scale_inv": scales}
    directory = _save(tmp_path_factory.mktemp("fp8") / "model", weights, shards=shards)
    start, stop = sorted(round(end * codes.numel()) for end in ends)
    expected = _direct(codes, scales).to(dtype).flatten()[start:stop]
    assert _same(_read(directory, start, stop, dtype), expected)


def test_every_code_has_its_value_in_both_formats(tmp_path: Path) -> None:
    for kind in (torch.float8_e4m3fn, torch.float8_e5m2):
        codes = torch.arange(256, dtype=torch.uint8).reshape(16, 16).view(kind)
        scales = torch.tensor(3.0)
        one = _save(tmp_path / str(kind), {NAME: codes, f"{NAME}_scale_inv": scales})
        # As a tensor mapped from a pickled state dict too.
        two = tmp_path / f"{kind}.pickled"
        two.mkdir()
        torch.save({NAME: codes, f"{NAME}_scale_inv": scales}, two / "pytorch_model.bin")
        for directory in (one, two):
            assert _same(_read(directory, 0, 256, torch.float32), 3 * codes.float().flatten())


def test_a_block_of_deepseek_is_dequantised_as_transformers_does(tmp_path: Path) -> None:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    codes = _codes((256, 384))
    scales = _scales((256, 384), (128, 128))
    directory = _save(tmp_path / "model", {NAME: codes, f"{NAME}_scale_inv": scales}, (128, 128))
    expected = Fp8Dequantize(None)._dequantize_one(codes, scales, torch.bfloat16)
    assert _same(_read(directory, 0, codes.numel(), torch.bfloat16), expected.flatten())


@pytest.mark.parametrize("strategy", ["tensor", "channel"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_scales_of_a_tensor_or_of_channels(tmp_path: Path, strategy: str, stored: torch.dtype) -> None:
    codes = _codes((7, 5))
    scales = (torch.rand((1,) if strategy == "tensor" else (7, 1)) + 0.1).to(stored)
    directory = _save(tmp_path / "model", {NAME: codes, f"{NAME}_scale": scales}, None)
    assert _same(_read(directory, 3, 31, torch.float32), (codes.float() * scales.float()).flatten()[3:31])


def _diff(init: Path, final: Path, out: Path, *words: str) -> dict[str, Any]:
    assert main([f"init={init}", f"final={final}", f"out={out}", *words]) == 0
    found: dict[str, Any] = json.loads((out / "diff.json").read_text())
    return found


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_pairs_of_which_one_or_both_are_quantised(tmp_path: Path, dtype: torch.dtype | None) -> None:
    norm = {"model.norm.weight": torch.ones(9).bfloat16()}
    weights, plain = {}, {}
    for seed, side in enumerate(("init", "final")):
        codes, scales = _codes((9, 20), seed=seed), _scales((9, 20))
        codes[:5] = _codes((9, 20))[:5]
        weights[side] = {NAME: codes, f"{NAME}_scale_inv": scales} | norm
        # A plain checkpoint of the export dtype that was asked for.
        plain[side] = {NAME: _direct(codes, scales).to(dtype or torch.bfloat16)} | norm
    expected = compare(plain["init"], plain["final"], (0.0, 1e-5))
    quantised = {side: _save(tmp_path / side, each) for side, each in weights.items()}
    dequantised = _save(tmp_path / "plain", plain["final"])
    words = ["tolerances=[0,1e-5]", *([] if dtype is None else [f"dtype={str(dtype).removeprefix('torch.')}"])]
    for index, final in enumerate((quantised["final"], dequantised)):
        found = _diff(quantised["init"], final, tmp_path / f"out{index}", *words)
        assert found["n"] == expected.n
        assert 0 < expected.sparsity_bitwise < 1
        assert found["sparsity"]["bitwise"] == expected.sparsity_bitwise
        assert found["sparsity"]["abs"]["1e-05"] == pytest.approx(1 - expected.density_abs[1e-5])
        assert found["skipped"] == []
        assert "F8_E4M3" in found["no_delta"]
        assert "dequantised" in found["no_delta"]
        assert not (tmp_path / f"out{index}" / "delta.safetensors").exists()
    same = _diff(quantised["final"], dequantised, tmp_path / "same", *words)
    assert same["sparsity"]["bitwise"] == 1


@pytest.mark.parametrize(
    ("scales", "block", "reason"),
    [
        (None, BLOCK, "stored as F8_E4M3 without scales in the init"),
        (torch.ones(3, 2), BLOCK, "of shape (3, 2), not (3, 3) as blocks of 4 × 8 ask for"),
        (torch.ones(1, 1), BLOCK, "of shape (1, 1), not (3, 3) as blocks of 4 × 8 ask for"),
        (torch.ones(3, 3), None, "of shape (3, 3), and config.json has no quantization_config.weight_block_size"),
        (torch.ones(20), None, "of shape (20,), and config.json has no quantization_config.weight_block_size"),
        (torch.ones(3, 3), (0, 8), "of blocks that config.json gives as [0, 8]"),
        (torch.ones(3, 3).to(torch.uint8), BLOCK, "stored as U8"),
    ],
)
def test_without_scales_that_fit_there_is_no_number(
    tmp_path: Path, scales: Tensor | None, block: tuple[int, int] | None, reason: str
) -> None:
    weights = {NAME: _codes((9, 20)), "model.norm.weight": torch.ones(9)}
    if scales is not None:
        weights[f"{NAME}_scale_inv"] = scales
    directory = _save(tmp_path / "model", weights, block)
    assert main([f"init={directory}", f"final={directory}"]) == 2
    found = _diff(directory, directory, tmp_path / "out", "partial=true")
    assert [tensor["name"] for tensor in found["tensors"]] == ["model.norm.weight"]
    assert [each["name"] for each in found["skipped"]] == [NAME]
    assert reason in found["skipped"][0]["reason"]


def test_damaged_codes_are_found_when_the_file_is_opened(tmp_path: Path) -> None:
    directory = _save(tmp_path / "model", {NAME: _codes((9, 20)), "x": torch.ones(3)})
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape":[9,20]', b'"shape":[9,21]'))
    assert main([f"init={directory}", f"final={directory}"]) == 2


def test_itemsize_is_that_of_the_file() -> None:
    scale = StoredTensor("s", (1,), torch.float32, "F32", Path())
    assert StoredTensor("x", (2, 2), torch.bfloat16, "F8_E4M3", Path(), scales=Scales(scale, 2, 2)).itemsize == 1
    assert StoredTensor("x", (2, 2), torch.bfloat16, "BF16", Path()).itemsize == 2


@pytest.mark.parametrize(
    ("name", "scales", "spread"),
    [
        ("scale", torch.full((2, 2), 2.0**-7).to(torch.float8_e8m0fnu), (128, 128)),
        ("weight_scale_inv", torch.randint(110, 130, (256, 8), dtype=torch.uint8), (1, 32)),
        ("weight_scale", torch.rand(2, 2) + 0.1, (128, 128)),
        ("weight_scale", torch.rand(256, 1).bfloat16() + 1, (1, 256)),
        ("weight_scale_inv", torch.rand(1, 2) + 0.1, (256, 128)),
    ],
    ids=["E8M0", "bytes of MX", "blocks that no config gives", "channels", "blocks of columns"],
)
def test_scales_of_any_name_and_format(tmp_path: Path, name: str, scales: Tensor, spread: tuple[int, int]) -> None:
    codes = _codes((256, 256))
    directory = _save(tmp_path / "model", {NAME: codes, NAME.replace("weight", name): scales}, None)
    factors = scales.view(torch.float8_e8m0fnu) if scales.dtype == torch.uint8 else scales
    assert _same(_read(directory, 0, codes.numel(), torch.float32), _direct(codes, factors, spread).flatten())


def test_int8_with_scales_of_channels_is_dequantised_as_compressed_tensors_does(tmp_path: Path) -> None:
    from compressed_tensors import quantization  # which vLLM depends on

    codes = torch.randint(-128, 128, (32, 48), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    scales = torch.rand(32, 1, generator=torch.Generator().manual_seed(1)) + 0.01
    directory = _save(tmp_path / "model", {NAME: codes, f"{NAME}_scale": scales}, None)
    arguments = quantization.QuantizationArgs(num_bits=8, strategy="channel")
    expected = quantization.lifecycle.forward.dequantize(codes, scales, args=arguments)
    assert _same(_read(directory, 0, codes.numel(), torch.float32), expected.float().flatten())
    # With an offset beside them they mean something else, which is not guessed.
    other = _save(
        tmp_path / "o", {NAME: codes, f"{NAME}_scale": scales, f"{NAME}_zero_point": torch.ones(32, 1).char()}
    )
    assert main([f"init={other}", f"final={other}"]) == 2


def test_a_gguf_of_llama_has_the_rows_of_transformers_again(tmp_path: Path) -> None:
    from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize

    generator = np.random.default_rng(0)
    shapes = {"attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64)}
    held = {name: generator.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    held = {
        name: dequantize(quantize(each, Q8), Q8) for Q8 in [GGMLQuantizationType.Q8_0] for name, each in held.items()
    }
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    for name, values in held.items():
        # As llama.cpp's conversion permutes them.
        heads = {"attn_q": 4, "attn_k": 2}.get(name)
        turned = values if heads is None else values.reshape(heads, 2, 8, 64).swapaxes(1, 2).reshape(values.shape)
        coded = quantize(np.ascontiguousarray(turned), GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"blk.0.{name}.weight", coded, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    init = {
        f"model.layers.0.self_attn.{name[-1]}_proj.weight": torch.from_numpy(each).bfloat16()
        for name, each in held.items()
    }
    one = tmp_path / "init"
    one.mkdir()
    save_file(init, one / "model.safetensors")
    found = _diff(one, tmp_path / "m.gguf", tmp_path / "out")
    assert found["n"] == 64 * 128
    assert found["sparsity"]["bitwise"] == 1
    assert found["coverage"]["share"] == 1
