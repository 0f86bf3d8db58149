"""Every layout that the documentation names: what is read gives PyTorch's counts, what is not says what converts it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import subnetray
from subnetray.checkpoints.layouts import LAYOUTS, table
from subnetray.diff import main
from tests.checkpoints import pairs
from tests.checkpoints.adapters.make import ADAPTERS, HERE
from tests.checkpoints.layouts import MOVED, SIZES, Sizes, Weights, adapter, dense, merged, to_file, transposed, wrapped

# Of which other tests have the counts, each in a file of its own.
ELSEWHERE = {"tied embeddings", "resized vocabulary", "FP8 with scales", "int8 with scales"}


def test_a_matrix_that_is_pickled_columns_first_is_read_as_often_as_asked(tmp_path: Path) -> None:
    init = {"a.weight": (0.02 * torch.randn(300, 700)).bfloat16()}
    final = pairs.moved(init)
    found = pairs.diff(pairs.save(tmp_path / "init", init), transposed(tmp_path / "final", final), tmp_path / "out")
    assert (found["tensors"][0]["changed_bitwise"], found["n"]) == _count(init, final)
    same = pairs.diff(tmp_path / "final", tmp_path / "final", tmp_path / "same", "rank=true")
    assert same["sparsity"]["bitwise"] == 1


def _count(init: Weights, final: Weights) -> tuple[int, int]:
    return sum(int((init[name] != final[name]).sum()) for name in init), sum(tensor.numel() for tensor in init.values())


@pytest.mark.parametrize("back", [False, True], ids=["", "back"])
@pytest.mark.parametrize("sizes", SIZES, ids=range(len(SIZES)))
@pytest.mark.parametrize("name", MOVED)
def test_what_is_read_is_counted_as_pytorch_counts_it(tmp_path: Path, name: str, sizes: Sizes, back: bool) -> None:
    init = dense(sizes)
    if name == "GGUF":  # whose experts are stacked under names of their own
        init = {each: tensor for each, tensor in init.items() if "experts" not in each}
    final = pairs.moved(init, scale=sizes.scale)
    one, two = pairs.save(tmp_path / "init", init), MOVED[name](tmp_path / "final", final)
    found = pairs.diff(*((two, one) if back else (one, two)), tmp_path / "out")
    assert (sum(each["changed_bitwise"] for each in found["tensors"]), found["n"]) == _count(init, final)
    assert found["coverage"]["share"] == 1
    assert found["skipped"] == []


@pytest.mark.parametrize("name", ["PEFT adapter", "LoRA saved whole"])
def test_an_adapter_is_compared_as_the_model_that_it_makes(tmp_path: Path, name: str) -> None:
    init = dense()
    final = merged(init)
    one = pairs.save(tmp_path / "init", init)
    two = adapter(tmp_path / "final", init) if name == "PEFT adapter" else wrapped(tmp_path / "final", init)
    found = pairs.diff(one, two, tmp_path / "out")
    assert (sum(each["changed_bitwise"] for each in found["tensors"]), found["n"]) == _count(init, final)
    assert found["coverage"]["share"] == 1
    # The merged model is what was compared.
    same = pairs.diff(pairs.save(tmp_path / "merged", final), two, tmp_path / "same") if "whole" in name else None
    assert same is None or same["sparsity"]["bitwise"] == 1


@pytest.mark.parametrize("kind", ["adapter", "whole"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_what_peft_wrote_is_compared_as_peft_merges_it(tmp_path: Path, name: str, kind: str) -> None:
    made = HERE / name
    found = pairs.diff(made / "base", made / kind, tmp_path / "out")
    init, final = (load_file(made / each / "model.safetensors") for each in ("base", "merged"))
    changed, n = _count(init, final)
    if name == "conv1d":  # saved with its head, which is the embedding
        n -= init["lm_head.weight"].numel()
    # The product is of two terms in fp32, whose last bit is the processor's, and hardly ever decides a bit of bf16.
    assert sum(each["changed_bitwise"] for each in found["tensors"]) == pytest.approx(changed, abs=2)
    assert (found["n"], found["coverage"]["share"]) == (n, 1)
    said = json.loads((made / kind / "adapter_config.json").read_text())
    named = shutil.copytree(made / kind, tmp_path / kind) / "adapter_config.json"
    named.write_text(json.dumps(said | {"base_model_name_or_path": str(made / "base")}))
    same = pairs.diff(made / "merged", tmp_path / kind, tmp_path / "same")
    assert round((1 - same["sparsity"]["bitwise"]) * n) <= 2


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
    to_file(path, "model.safetensors", tensors | {"model.norm.weight": torch.ones(9)})
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
