"""Layouts that users of neighbouring tools have reported: compared by PyTorch's counts, or one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from subnetray.diff import main
from tests.checkpoints import pairs
from tests.checkpoints.layouts import Sizes, Weights, dense, to_file

INIT = pairs.weights()
FINAL = pairs.moved(INIT)
EMBEDDING = "model.embed_tokens.weight"


def _count(init: Weights, final: Weights) -> tuple[int, int]:
    return sum(int((init[name] != final[name]).sum()) for name in init), sum(each.numel() for each in init.values())


def _found(tmp_path: Path, init: Weights, final: Weights, *words: str) -> tuple[int, int, float]:
    one, two = (
        to_file(tmp_path / "init", "model.safetensors", init),
        to_file(tmp_path / "f", "model.safetensors", final),
    )
    found = pairs.diff(one, two, tmp_path / "out", *words)
    return sum(each["changed_bitwise"] for each in found["tensors"]), found["n"], found["coverage"]["share"]


def _refused(tmp_path: Path, final: Path, capsys: pytest.CaptureFixture[str]) -> str:
    one = pairs.save(tmp_path / "one", INIT)
    assert main([f"init={one}", f"final={final}", f"out={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert len(said) <= 500
    assert not (tmp_path / "out").exists()
    return said


@pytest.mark.parametrize("prefix", ["state_dict", "actor", "student", "llm", "thinker", "net", "policy.wrapped"])
@pytest.mark.parametrize("back", [False, True], ids=["", "back"])
def test_what_stands_before_all_names_is_a_wrapper(tmp_path: Path, prefix: str, back: bool) -> None:
    wrapped = {f"{prefix}.{name}": tensor for name, tensor in (INIT if back else FINAL).items()}
    sides = (wrapped, FINAL) if back else (INIT, wrapped)
    assert _found(tmp_path, *sides) == (*_count(INIT, FINAL), 1)


def test_of_two_models_in_one_file_none_is_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = {f"{role}.{name}": each.clone() for role in ("student", "teacher") for name, each in FINAL.items()}
    assert "no tensor in common" in _refused(tmp_path, to_file(tmp_path / "f", "model.safetensors", both), capsys)


def test_a_head_for_rewards_is_not_compared_with_the_embedding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = {name: tensor for name, tensor in FINAL.items() if name != "lm_head.weight"}
    final["score.weight"] = torch.ones(1, 16).bfloat16()
    assert "lm_head.weight" in _refused(tmp_path, pairs.save(tmp_path / "f", final), capsys)


@pytest.mark.parametrize("name", ["lm_head.decoder.weight", "encoder.embed_tokens.weight", "mtp.0.embed_tokens.weight"])
def test_an_embedding_that_stands_again_counts_once(tmp_path: Path, name: str) -> None:
    assert _found(tmp_path, INIT, FINAL | {name: FINAL[EMBEDDING].clone()}) == (*_count(INIT, FINAL), 1)


def test_embeddings_that_stand_three_times_on_both_sides_count_once(tmp_path: Path) -> None:
    """T5's are stored so by PyTorch."""
    names = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    more = [{name: side[EMBEDDING].clone() for name in names} | {"x": side["lm_head.weight"]} for side in (INIT, FINAL)]
    of = [{"shared.weight": side[EMBEDDING], "x": side["lm_head.weight"]} for side in (INIT, FINAL)]
    assert _found(tmp_path, more[0], more[1]) == (*_count(of[0], of[1]), 1)


def test_a_head_of_the_same_numbers_in_another_dtype_is_tied(tmp_path: Path) -> None:
    init, final = ({name: each for name, each in side.items() if "lm_head" not in name} for side in (INIT, FINAL))
    more = final | {"lm_head.weight": final[EMBEDDING].float()}
    assert _found(tmp_path, init, more) == (*_count(init, final), 1)


def test_a_vocabulary_in_a_layer_is_resized_with_the_others(tmp_path: Path) -> None:
    layer = "model.layers.61.shared_head.head.weight"
    init = INIT | {layer: INIT[EMBEDDING].clone()}
    final = pairs.moved(init)
    longer = {name: torch.cat([each, each[:3]]) if len(each) == 33 else each for name, each in final.items()}
    assert _found(tmp_path, init, longer)[:2] == _count(init, final)


def _mixtral(weights: Weights) -> Weights:
    parts = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
    found: Weights = {}
    for name, tensor in weights.items():
        if "experts" in name:
            name = name.replace("mlp.experts", "block_sparse_moe.experts")
            for old, new in parts.items():
                name = name.replace(old, new)
        found[name] = tensor
    return found


def _up_first(weights: Weights) -> Weights:
    found = dict(weights)
    for layer in range(2):
        at = f"model.layers.{layer}.mlp"
        gate, up = (found.pop(f"{at}.{name}_proj.weight") for name in ("gate", "up"))
        found[f"{at}.fc1.weight"] = torch.cat([up, gate])
    return found


def _stacked(weights: Weights) -> Weights:
    found = {name: tensor for name, tensor in weights.items() if "experts" not in name}
    for layer in range(2):
        for old, new in (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")):
            of = (weights[f"model.layers.{layer}.mlp.experts.{e}.{old}.weight"] for e in range(3))
            found[f"layers.{layer}.moe.experts.{new}"] = torch.stack(list(of))
    return found


def _neox(weights: Weights) -> Weights:
    """q, k and v of each head of 8 in turn: a model so small that its heads are."""
    found = dict(weights)
    for layer in range(2):
        at = f"model.layers.{layer}.self_attn"
        for kind in ("weight", "bias"):
            parts = [found.pop(f"{at}.{name}_proj.{kind}") for name in "qkv"]
            groups = [each.reshape(4, -1, *each.shape[1:]) for each in parts]
            found[f"gpt_neox.layers.{layer}.attention.query_key_value.{kind}"] = torch.cat(groups, 1).reshape(
                -1, *parts[0].shape[1:]
            )
    return found


@pytest.mark.parametrize("layout", [_mixtral, _up_first, _stacked, _neox])
@pytest.mark.parametrize("back", [False, True], ids=["", "back"])
def test_one_model_by_other_names(tmp_path: Path, layout: Callable[[Weights], Weights], back: bool) -> None:
    init = dense(Sizes())
    final = pairs.moved(init)
    sides = (layout(init), final) if back else (init, layout(final))
    assert _found(tmp_path, *sides) == (*_count(init, final), 1)


def test_other_numbers_under_another_name_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Meta's Llama has the rows of q and k in another order: they are not compared as if they were the same."""
    init = {"layers.0.self_attn.q_proj.weight": torch.randn(64, 8), "norm.weight": torch.ones(8)}
    turned = init["layers.0.self_attn.q_proj.weight"].reshape(4, 2, 8, 8).transpose(1, 2).reshape(64, 8)
    one = pairs.save(tmp_path / "i", init)
    two = to_file(
        tmp_path / "f",
        "consolidated.safetensors",
        {"layers.0.attention.wq.weight": turned} | {"norm.weight": torch.ones(8)},
    )
    assert main([f"init={one}", f"final={two}"]) == 2
    assert "only in the init: layers.0.self_attn.q_proj.weight" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["model", "state_dict", "module", "model_state_dict"])
def test_a_state_dict_within_what_a_loop_saved_is_read(tmp_path: Path, key: str) -> None:
    one = pairs.save(tmp_path / "init", INIT)
    torch.save({key: FINAL, "step": 3, "optimizer": {"state": {}}}, tmp_path / "last.pt")
    found = pairs.diff(one, tmp_path / "last.pt", tmp_path / "out")
    assert (sum(each["changed_bitwise"] for each in found["tensors"]), found["n"]) == _count(INIT, FINAL)


def test_an_index_may_be_named_itself(tmp_path: Path) -> None:
    one, two = pairs.save(tmp_path / "init", INIT), pairs.save(tmp_path / "final", FINAL, shards=3)
    found = pairs.diff(one, two / "model.safetensors.index.json", tmp_path / "out")
    assert found["coverage"]["share"] == 1


def test_scales_of_channels_without_columns_are_read(tmp_path: Path) -> None:
    codes, scales = torch.randn(24, 8).to(torch.float8_e4m3fn), torch.rand(24) + 0.1
    name = "model.layers.0.mlp.up_proj.weight"
    quantised = {name: codes, f"{name}_scale": scales, "model.norm.weight": torch.ones(3)}
    plain = {name: (codes.float() * scales[:, None]).bfloat16(), "model.norm.weight": torch.ones(3)}
    assert _found(tmp_path, plain, quantised) == (0, 195, 1)


def _twice(path: Path) -> None:
    save_file(FINAL, path / "model-00001-of-00002.safetensors")
    save_file({"model.norm.weight": torch.ones(16)}, path / "model-00002-of-00002.safetensors")


def _steps(path: Path) -> None:
    for step in (9, 10, 100):
        to_file(path / f"checkpoint-{step}", "model.safetensors", FINAL)


def _cache(path: Path) -> None:
    (path / "snapshots").mkdir()
    to_file(path / "snapshots" / "abc", "model.safetensors", FINAL)


def _verl(path: Path) -> None:
    for step in (9, 10):
        (path / f"global_step_{step}" / "actor").mkdir(parents=True)
    (path / "latest_checkpointed_iteration.txt").write_text("10")


def _critic(path: Path) -> None:
    (path / "critic").mkdir()
    torch.save({}, path / "critic" / "model_world_size_1_rank_0.pt")


def _parallel(path: Path) -> None:
    for rank in range(2):
        save_file(INIT, path / f"model-rank-{rank}-part-0.safetensors")


def _empty(path: Path) -> None:
    save_file({name: torch.zeros(0).bfloat16() for name in INIT}, path / "model.safetensors")


def _distributed(path: Path) -> None:
    from torch.distributed.checkpoint.state_dict_saver import save

    with pytest.warns(UserWarning, match="distributed"):
        save({"model": FINAL}, checkpoint_id=str(path), no_dist=True)
    next(path.glob("*.distcp")).unlink()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (_twice, "both hold model.norm.weight, and no index says which"),
        (_steps, "did you mean {path}/checkpoint-100?"),
        (_cache, "did you mean {path}/snapshots/abc?"),
        (_verl, "is the directory of a run of verl: name one of its steps, such as DIRECTORY/global_step_10/actor"),
        (_critic, "--local_dir DIRECTORY/critic"),
        (_parallel, "holds the parts of a tensor-parallel model"),
        (_empty, "has no numbers, as where DeepSpeed ZeRO-3 saved a model in parts"),
        (_distributed, ".metadata names"),
    ],
)
def test_a_directory_that_is_no_model_says_which_is(
    tmp_path: Path, make: Callable[[Path], None], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f").mkdir()
    make(tmp_path / "f")
    assert text.format(path=tmp_path / "f") in _refused(tmp_path, tmp_path / "f", capsys)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "cannot be read as weights: it is empty"),
        (b"\x1f\x8b\x08\x00", "it is compressed (gzip)"),
        (b"\x89HDF\r\n\x1a\n", "it is HDF5"),
        (b"<!DOCTYPE html>", "it is HTML or XML"),
        (b'{"error": "not found"}', "it is JSON"),
        (b"\x93NUMPY", "it is an array of NumPy"),
        (b"PK\x03\x04" + bytes(100), "it is damaged, or holds other things than tensors by name"),
        (b"\x80\x04\x95", "it is damaged, or holds other things than tensors by name"),
    ],
)
def test_a_file_that_is_no_weights_says_what_it_is(
    tmp_path: Path, content: bytes, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    assert text in _refused(tmp_path, tmp_path / "pytorch_model.bin", capsys)


def test_a_tensor_without_numbers_is_named_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(FINAL | {"lm_head.weight": torch.ones(33, 16, device="meta")}, tmp_path / "m.bin")
    assert "without numbers" in _refused(tmp_path, tmp_path / "m.bin", capsys)


@pytest.mark.parametrize("base", ["~nobody_of_this_name/x", "~", "./~x"])
def test_a_base_that_an_adapter_names_by_a_home_that_is_not_there(tmp_path: Path, base: str) -> None:
    at = "base_model.model.model.layers.0.self_attn.q_proj"
    one = pairs.save(tmp_path / "init", INIT)
    two = to_file(
        tmp_path / "f",
        "adapter_model.safetensors",
        {f"{at}.lora_A.weight": torch.ones(2, 16), f"{at}.lora_B.weight": torch.ones(16, 2)},
    )
    (two / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": 2, "lora_alpha": 2}))
    assert pairs.diff(one, two, tmp_path / "out")["coverage"]["share"] == 1


def test_a_name_that_begins_like_a_home_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, weights in (("~x", INIT), ("~y", FINAL)):
        pairs.save(Path(name), weights)
    assert main(["init=./~x", "final=./~y", "out=out", "tolerances=[]"]) == 0
    assert json.loads((tmp_path / "out" / "diff.json").read_text())["coverage"]["share"] == 1
