"""``python -m subnetray.diff`` on checkpoints of every layout that users have."""

from __future__ import annotations

import functools
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from subnetray import diff
from subnetray.checkpoints import compare as module
from subnetray.checkpoints import loops, open_checkpoint, part
from subnetray.checkpoints.loops import IN_MEMORY, Found, Place
from subnetray.config import ConfigError
from subnetray.diff import main
from subnetray.subnetwork import Delta, Mask, compare, hashing, weights_hash
from subnetray.subnetwork import delta as delta_module
from subnetray.subnetwork import steps as steps_module
from subnetray.subnetwork.chunk import Thresholds

TOLERANCES = (0.0, 1e-8, 1e-6, 1e-5, 1e-4)


def _weights(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
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


def _moved(init: Mapping[str, Tensor], seed: int = 1, scale: float = 5e-5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (tensor.float() + scale * torch.randn(tensor.shape, generator=generator)).to(tensor.dtype)
        for name, tensor in init.items()
    }


def _save(directory: Path, weights: Mapping[str, Tensor], shards: int = 1, **config: Any) -> Path:
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


def _diff(init: Path, final: Path, out: Path, *words: str) -> dict[str, Any]:
    assert main([f"init={init}", f"final={final}", f"out={out}", *words]) == 0
    found: dict[str, Any] = json.loads((out / "diff.json").read_text())
    return found


def _check(found: dict[str, Any], init: Mapping[str, Tensor], final: Mapping[str, Tensor]) -> None:
    expected = compare(init, final, TOLERANCES, (2, 4))
    assert found["n"] == expected.n
    assert found["sparsity"]["bitwise"] == expected.sparsity_bitwise
    assert found["sparsity"]["abs"]["1e-05"] == pytest.approx(1 - expected.density_abs[1e-5])
    by_name = {tensor.name: tensor for tensor in expected.tensors}
    for tensor in found["tensors"]:
        assert tensor["changed_bitwise"] == by_name[tensor["name"]].changed_bitwise
        assert tensor["changed_1e-06"] == by_name[tensor["name"]].changed_abs[1e-6]
        assert tensor["changed_4_ulps"] == by_name[tensor["name"]].changed_ulps[4]


@pytest.mark.parametrize("shards", [(1, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_counts_mask_and_delta_are_those_of_weights_in_memory(
    tmp_path: Path, shards: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare_parts = functools.partial(module.compare_checkpoints, part=512)
    monkeypatch.setattr(diff, "compare_checkpoints", compare_parts)  # several blocks a part, and parts a tensor
    monkeypatch.setattr(part, "BLOCK", 256)
    monkeypatch.setattr(hashing, "BLOCK", 256)
    monkeypatch.setattr(delta_module, "BLOCK", 256)
    monkeypatch.setattr(steps_module, "BLOCK", 256)
    init = _weights(dtype=dtype)
    final = _moved(init)
    final["model.norm.weight"] = init["model.norm.weight"]
    one, two = _save(tmp_path / "init", init, shards[0]), _save(tmp_path / "final", final, shards[1])
    found = _diff(one, two, tmp_path / "out", "threads=3")
    _check(found, init, final)
    assert found["skipped"] == []
    assert found["bytes_read"] == 2 * found["n"] * init["lm_head.weight"].element_size()
    assert Mask.load(tmp_path / "out" / "mask.safetensors") == Mask.between(init, final)
    delta = Delta.load(tmp_path / "out" / "delta.safetensors")
    assert delta.init_hash == weights_hash(init)
    delta.verify(init)
    assert weights_hash(delta.apply(init)) == weights_hash(final)


@pytest.mark.e2e
def test_a_ray_cluster_gives_the_same_bytes(tmp_path: Path) -> None:
    """A process of its own: Ray must not have been imported before."""
    init = _weights()
    one, two = _save(tmp_path / "init", init, shards=2), _save(tmp_path / "final", _moved(init), shards=3)
    local = _diff(one, two, tmp_path / "local")
    words = [sys.executable, "-m", "subnetray.diff", f"init={one}", f"final={two}", "cluster=ray"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    subprocess.run([*words, f"out={tmp_path / 'ray'}"], check=True, env=environment)
    found = json.loads((tmp_path / "ray" / "diff.json").read_text())
    assert {**found, "seconds": 0} == {**local, "seconds": 0}
    for name in ("mask.safetensors", "delta.safetensors"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_bit_for_bit_alone_gives_the_same_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = _weights()
    final = _moved(init)
    init["model.norm.weight"][:4] = torch.tensor([0.0, -0.0, 0.0, math.nan])
    final["model.norm.weight"][:4] = torch.tensor([-0.0, 0.0, 1e-40, math.inf])
    one, two = _save(tmp_path / "init", init), _save(tmp_path / "final", final)
    assert main([f"init={one}", f"final={two}", "tolerances=[]", "ulps=[]"]) == 0
    said = capsys.readouterr().out
    expected = compare(init, final, ())
    assert f"{expected.sparsity_bitwise:.2%}" in said
    assert "1 coordinates are NaN or infinite" in said
    with open_checkpoint(one, "init") as a, open_checkpoint(two, "final") as b:
        found = module.compare_checkpoints(a, b, Thresholds(), None, threads=2).comparison
    assert sorted(found.tensors, key=str) == sorted(expected.tensors, key=str)


@pytest.mark.parametrize("done", [0, 256])
def test_a_read_that_is_interrupted_goes_on(tmp_path: Path, done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    init, final = _weights(), _moved(_weights())
    one, two = _save(tmp_path / "init", init), _save(tmp_path / "final", final)
    scan, tally, calls = loops.scan_places, loops.tally_places, list[Place]()

    def interrupted(function: Callable[..., Found], *arguments: Any) -> Found:
        old, new, n, *rest = arguments
        again = old == IN_MEMORY or old in calls  # each place once, whichever thread comes first
        calls.append(old)
        return function(*arguments) if again or n <= done else function(old, new, done, *rest)

    monkeypatch.setattr(part, "BLOCK", 256)
    monkeypatch.setattr(hashing, "BLOCK", 256)
    monkeypatch.setattr(delta_module, "BLOCK", 256)
    monkeypatch.setattr(steps_module, "BLOCK", 256)
    monkeypatch.setattr(part, "scan_places", functools.partial(interrupted, scan))
    monkeypatch.setattr(part, "tally_places", functools.partial(interrupted, tally))
    _check(_diff(one, two, tmp_path / "out"), init, final)
    delta = Delta.load(tmp_path / "out" / "delta.safetensors")
    delta.verify(init)
    assert weights_hash(delta.apply(init)) == weights_hash(final)
    assert calls.count(IN_MEMORY) >= 3  # so many tensors are longer
    calls.clear()
    with open_checkpoint(one, "init") as a, open_checkpoint(two, "final") as b:
        found = module.compare_checkpoints(a, b, Thresholds(), None, threads=2).comparison
    assert found.changed_bitwise == compare(init, final, ()).changed_bitwise
    assert len(calls) > len(init)


@pytest.mark.parametrize("tolerances", ["[]", "[0,1e-5]"])
def test_one_side_that_has_to_be_converted_is_counted_alike(tmp_path: Path, tolerances: str) -> None:
    init, final = _weights(dtype=torch.float32), _moved(_weights())
    one = _save(tmp_path / "init", init)
    (tmp_path / "final").mkdir()
    torch.save(final, tmp_path / "final" / "pytorch_model.bin")
    words = [f"tolerances={tolerances}", "ulps=[]"]
    found = _diff(one, tmp_path / "final", tmp_path / "out", *words)
    expected = compare({name: tensor.bfloat16() for name, tensor in init.items()}, final, ())
    assert found["sparsity"]["bitwise"] == expected.sparsity_bitwise
    with open_checkpoint(one, "a") as a, open_checkpoint(tmp_path / "final", "b") as b:
        counted = module.compare_checkpoints(a, b, Thresholds(), None, threads=1).comparison
    assert counted.changed_bitwise == expected.changed_bitwise


def test_pytorch_files_are_read_without_running_anything(tmp_path: Path) -> None:
    init, final = _weights(), _moved(_weights())
    one = _save(tmp_path / "init", init)
    two = tmp_path / "final"
    two.mkdir()
    torch.save(final, two / "pytorch_model.bin")
    _check(_diff(one, two, tmp_path / "out"), init, final)
    torch.save({"a": print}, two / "pytorch_model.bin")
    assert main([f"init={one}", f"final={two}"]) == 2


def test_mixed_dtypes_are_compared_in_the_dtype_asked_for(tmp_path: Path) -> None:
    init = _weights(dtype=torch.float32)
    final = _moved(init, scale=1e-5)
    one = _save(tmp_path / "init", init)
    two = _save(tmp_path / "final", {name: tensor.bfloat16() for name, tensor in final.items()})
    rounded = {name: tensor.bfloat16() for name, tensor in init.items()}
    found = _diff(one, two, tmp_path / "out")
    _check(found, rounded, {name: tensor.bfloat16() for name, tensor in final.items()})
    assert "rounded" in found["no_delta"]
    assert not (tmp_path / "out" / "delta.safetensors").exists()
    both = _save(tmp_path / "both", final)
    _check(
        _diff(one, both, tmp_path / "half", "dtype=float16"),
        *({name: tensor.half() for name, tensor in weights.items()} for weights in (init, final)),
    )


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: name.removeprefix("model."),
        lambda name: name.replace("model.", "model.language_model."),
    ],
    ids=["compiled", "peft", "bare", "multimodal"],
)
@pytest.mark.parametrize("back", [False, True])
def test_a_wrapper_prefix_is_no_difference(tmp_path: Path, rename: Callable[[str], str], back: bool) -> None:
    init, final = _weights(), _moved(_weights())
    names = {name: rename(name) for name in init}
    if back:
        init = {names[name]: tensor for name, tensor in init.items()}
        names = {new: old for old, new in names.items()}
    renamed = {names[name]: tensor for name, tensor in zip(names, final.values(), strict=True)}
    found = _diff(_save(tmp_path / "init", init), _save(tmp_path / "final", renamed), tmp_path / "out")
    final = dict(zip(init, final.values(), strict=True))
    assert found["skipped"] == []
    _check(found, init, final)
    assert Mask.load(tmp_path / "out" / "mask.safetensors") == Mask.between(init, final)
    # The delta has the init's names, and the final's are said.
    assert found["renamed"] == {old: new for old, new in names.items() if old != new}
    assert found["renamed"]
    delta = Delta.load(tmp_path / "out" / "delta.safetensors")
    delta.verify(init)
    restored = {names[name]: tensor for name, tensor in delta.apply(init).items()}
    assert weights_hash(restored) == weights_hash(renamed)


def test_names_that_two_prefixes_could_mean_are_not_guessed(tmp_path: Path) -> None:
    init = {name: torch.zeros(3) for name in ("norm.weight", "x")}
    final = {name: torch.zeros(3) for name in ("model.norm.weight", "module.norm.weight", "x")}
    found = _diff(_save(tmp_path / "init", init), _save(tmp_path / "final", final), tmp_path / "out")
    assert [tensor["name"] for tensor in found["tensors"]] == ["x"]
    assert [each["name"] for each in found["skipped"]] == ["norm.weight", "model.norm.weight", "module.norm.weight"]


def test_a_resized_vocabulary_is_compared_where_both_have_rows(tmp_path: Path) -> None:
    init, final = _weights(), _moved(_weights())
    longer = {name: torch.cat([t, t[:3]]) if t.shape[0] == 33 else t for name, t in final.items()}
    found = _diff(_save(tmp_path / "init", init), _save(tmp_path / "final", longer), tmp_path / "out")
    _check(found, init, final)
    assert {each["name"] for each in found["skipped"]} == {"model.embed_tokens.weight", "lm_head.weight"}
    assert all("rows 33 to 35 are only in the final" in each["reason"] for each in found["skipped"])


@pytest.mark.parametrize("stored", ["both", "final", "neither"])
def test_a_tied_head_counts_once(tmp_path: Path, stored: str) -> None:
    init, final = _weights(), _moved(_weights())
    for weights, keeps in ((init, stored == "both"), (final, stored != "neither")):
        del weights["lm_head.weight"]
        if keeps:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    found = _diff(
        _save(tmp_path / "init", init, tie_word_embeddings=True),
        _save(tmp_path / "final", final, tie_word_embeddings=True),
        tmp_path / "out",
    )
    for weights in (init, final):
        weights.pop("lm_head.weight", None)
    _check(found, init, final)
    assert [each["name"] for each in found["skipped"]] == ([] if stored == "neither" else ["lm_head.weight"])


@pytest.mark.parametrize("config", [{"tie_word_embeddings": True}, {}], ids=["said", "by_default"])
@pytest.mark.parametrize("back", [False, True])
def test_a_head_that_was_untied_is_compared_with_the_embedding_it_came_from(
    tmp_path: Path, config: dict[str, bool], back: bool
) -> None:
    tied = _weights()
    del tied["lm_head.weight"]
    untied = _moved(tied)
    untied["lm_head.weight"] = tied["model.embed_tokens.weight"].clone()
    untied["lm_head.weight"][0] += 1
    one = _save(tmp_path / "tied", tied, **config)
    two = _save(tmp_path / "untied", untied, tie_word_embeddings=False)
    found = _diff(two, one, tmp_path / "out") if back else _diff(one, two, tmp_path / "out")
    tied["lm_head.weight"] = tied["model.embed_tokens.weight"]
    _check(found, *((untied, tied) if back else (tied, untied)))
    assert found["skipped"] == []
    mask = Mask.load(tmp_path / "out" / "mask.safetensors")
    assert mask == Mask.between(tied, untied)
    assert mask.flat("lm_head.weight").sum() == 16
    # The final's head can be had from the init's files only if they hold a head.
    assert (found["no_delta"] is None) == back
    if back:
        restored = Delta.load(tmp_path / "out" / "delta.safetensors").apply(untied)
        assert weights_hash(restored) == weights_hash(tied)


def test_formats_that_are_no_weights_are_reported(tmp_path: Path) -> None:
    init = {"x": torch.ones(3), "ids": torch.arange(3), "scale": torch.ones(2).to(torch.float8_e4m3fn)}
    found = _diff(_save(tmp_path / "init", init), _save(tmp_path / "final", init), tmp_path / "out")
    assert found["n"] == 3
    assert [each["name"] for each in found["skipped"]] == ["ids", "scale"]
    assert "F8_E4M3" in found["skipped"][1]["reason"]
    assert found["no_delta"] == "2 tensors or rows were left out"


def test_scalars_empty_tensors_and_single_files(tmp_path: Path) -> None:
    init = {"a": torch.tensor(1.0), "b": torch.zeros(0, 4), "c": torch.zeros(1, 9)}
    final = {"a": torch.tensor(2.0), "b": torch.zeros(0, 4), "c": torch.zeros(1, 9)}
    one, two = _save(tmp_path / "init", init), _save(tmp_path / "final", final)
    found = _diff(one / "model.safetensors", two, tmp_path / "out")
    assert found["n"] == 10
    assert found["sparsity"]["bitwise"] == 0.9
    assert Mask.load(tmp_path / "out" / "mask.safetensors") == Mask.between(init, final)
    assert weights_hash(Delta.load(tmp_path / "out" / "delta.safetensors").apply(init)) == weights_hash(final)
    empty = _save(tmp_path / "empty", {"b": torch.zeros(0, 4)})
    assert _diff(empty, empty, tmp_path / "none")["sparsity"]["bitwise"] is None


def test_a_tensor_that_an_index_forgot_is_compared(tmp_path: Path) -> None:
    init = _weights()
    one = _save(tmp_path / "init", init, shards=2)
    index = json.loads((one / "model.safetensors.index.json").read_text())
    del index["weight_map"]["model.norm.weight"]
    (one / "model.safetensors.index.json").write_text(json.dumps(index))
    _check(_diff(one, _save(tmp_path / "final", _moved(init)), tmp_path / "out"), init, _moved(init))


def test_results_are_those_of_the_last_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init = _weights()
    one, two = _save(tmp_path / "init", init), _save(tmp_path / "final", _moved(init))
    _diff(one, two, tmp_path / "out")
    kept = ["delta.safetensors", "diff.json", "heatmap.html", "heatmap.png", "mask.safetensors"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == kept
    assert "rounded" in _diff(one, two, tmp_path / "out", "dtype=float16")["no_delta"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == kept[1:]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = (tmp_path / "out" / "mask.safetensors").read_bytes()
    monkeypatch.setattr(os, "pwrite", full)
    assert main([f"init={one}", f"final={two}", f"out={tmp_path / 'out'}"]) == 1
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == kept[1:]
    assert (tmp_path / "out" / "mask.safetensors").read_bytes() == before


def test_what_only_one_has_is_reported(tmp_path: Path) -> None:
    init, final = _weights(), _moved(_weights())
    del final["model.norm.weight"]
    final["value_head.weight"] = torch.zeros(3)
    found = _diff(_save(tmp_path / "init", init), _save(tmp_path / "final", final), tmp_path / "out")
    assert {each["name"]: each["reason"] for each in found["skipped"]} == {
        "model.norm.weight": "only in the init",
        "value_head.weight": "only in the final",
    }


def test_nan_and_identity_are_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = _weights()
    one = _save(tmp_path / "init", init)
    same = _diff(one, _save(tmp_path / "same", init), tmp_path / "a")
    assert same["sparsity"]["bitwise"] == 1
    assert "are the same, bit for bit" in capsys.readouterr().out
    init["model.norm.weight"][3] = math.nan
    broken = _diff(one, _save(tmp_path / "nan", init), tmp_path / "b")
    assert broken["nonfinite"] == 1
    init["model.norm.weight"][5] = -math.inf
    assert _diff(one, _save(tmp_path / "inf", init), tmp_path / "c")["nonfinite"] == 2
    assert "NaN or infinite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["init={one}"], "final= must name"),
        (["init={one}", "final={none}"], "final must be a local directory or file, or a Hugging Face id"),
        (["init={one}", "final={empty}"], "must hold model.safetensors"),
        (["init={one}", "final={two}", "dtype=int8"], "dtype must be one of bfloat16"),
        (["init={one}", "final={two}", "tolerances=[-1]"], "tolerances must be a list of numbers >= 0"),
        (["init={one}", "final={two}", "tolerance=[0]"], "there is no key tolerance"),
        (["init={one}", "final={two}", "ulps=[0]"], "ulps must be a list of whole numbers >= 1"),
        (["init={one}", "final={two}", "ulps=[1.5]"], "ulps must be a list of whole numbers >= 1"),
        (["init={one}", "final={two}", "relative=0.1"], "relative must be a list of numbers >= 0"),
        (["init={one}", "final={two}", "cluster=slurm"], "cluster must be local or ray"),
        (["init={one}", "final={two}", "cluster=ray", "threads=2"], "threads is for cluster=local"),
        (["init={one}", "final={two}", "threads=0"], "threads must be a whole number"),
        (["init={one}", "final={other}"], "have no tensor in common"),
        (["init={one}", "final={shape}"], "has shape (16,) in the init and (17,) in the final"),
        (["init={one}", "final={truncated}"], "bytes, and its header asks for"),
        (["init={one}", "final={garbage}"], "is truncated or no safetensors file"),
        (["init={one}", "final={missing}"], "that file is missing"),
        (["init={one}", "final={swapped}"], "the bytes of model.norm.weight do not fit its shape"),
        (["init={one}", "final={index}"], "has no weight_map"),
        (["init={one}", "final={shard}"], "model-1.safetensors has"),
        (["init={one}", "final={moved}"], "says that model-0.safetensors holds model.norm.weight, and it does not"),
        (["init={one}", "final={json}"], "model.safetensors.index.json is not valid JSON"),
        (["init={one}", "final={pickle}"], "pytorch_model.bin cannot be read as weights"),
        (["init={shard}", "final={one}"], "init: "),
        (["init={one}", "final={one}/config.json"], "cannot be read as weights"),
    ],
)
def test_bad_input(tmp_path: Path, words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    weights = _weights()
    places = {"one": _save(tmp_path / "one", weights), "two": _save(tmp_path / "two", weights)}
    places["none"] = tmp_path / "none"
    places["empty"] = tmp_path / "empty"
    places["empty"].mkdir()
    places["other"] = _save(tmp_path / "other", {"x": torch.zeros(3)})
    places["shape"] = _save(tmp_path / "shape", {"model.norm.weight": torch.zeros(17)})
    for name in ("truncated", "garbage"):
        places[name] = _save(tmp_path / name, weights)
        file = places[name] / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-5] if name == "truncated" else b"\xff" * 50)
    places["missing"] = _save(tmp_path / "missing", weights, shards=2)
    (places["missing"] / "model-1.safetensors").unlink()
    places["swapped"] = _save(tmp_path / "swapped", weights)
    file = places["swapped"] / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape":[16],', b'"shape":[17],'))
    places["index"] = _save(tmp_path / "index", weights, shards=2)
    (places["index"] / "model.safetensors.index.json").write_text('{"weight_map": {"x": ["model-0.safetensors"]}}')
    places["shard"] = _save(tmp_path / "shard", weights, shards=2)
    file = places["shard"] / "model-1.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    for name, content in (("moved", '{"weight_map": {"model.norm.weight": "model-0.safetensors"}}'), ("json", "{")):
        places[name] = _save(tmp_path / name, weights, shards=2)
        (places[name] / "model.safetensors.index.json").write_text(content)
    places["pickle"] = tmp_path / "pickle"
    places["pickle"].mkdir()
    torch.save(weights, places["pickle"] / "pytorch_model.bin")
    file = places["pickle"] / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-200])
    out = tmp_path / "out"
    assert main([word.format(**places) for word in words] + [f"out={out}"]) == 2
    said = capsys.readouterr().err.strip()
    assert text in said
    assert len(said.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize("tolerances", [TOLERANCES, ()])
def test_a_file_that_is_cut_while_it_is_read_is_no_result(tmp_path: Path, tolerances: tuple[float, ...]) -> None:
    one, two = _save(tmp_path / "init", _weights()), _save(tmp_path / "final", _moved(_weights()))
    out = tmp_path / "out"
    with open_checkpoint(one, "init") as a, open_checkpoint(two, "final") as b:
        file = two / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(ConfigError, match=r"final/model\.safetensors ends inside of tensor .*: it is truncated$"):
            module.compare_checkpoints(a, b, Thresholds(tolerances), None, 2, out if tolerances else None)
    assert not out.exists() or list(out.iterdir()) == []


@contextmanager
def _files_up_to(limit: int) -> Iterator[None]:
    """No file of this process grows beyond ``limit`` bytes: what writes, by whatever call, meets the system's error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("rows", [300, 200_000], ids=["picture is largest", "delta is largest"])
def test_a_full_disk_leaves_nothing_partial(tmp_path: Path, rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    init = {"x": torch.ones(rows, 1).bfloat16()}
    final = {"x": torch.where(torch.arange(rows) % 3 > 0, 2.0, 1.0).bfloat16()[:, None]}
    words = [f"init={_save(tmp_path / 'init', init)}", f"final={_save(tmp_path / 'final', final)}", "tolerances=[]"]
    whole = tmp_path / "whole"
    assert main([*words, f"out={whole}"]) == 0
    sizes = sorted(path.stat().st_size for path in whole.iterdir())
    # The disk is full at once, or when each of the files lacks its last byte.
    for limit in (1, *(size - 1 for size in sizes)):
        out = tmp_path / f"out{limit}"
        capsys.readouterr()
        with _files_up_to(limit):
            assert main([*words, f"out={out}"]) == 1
        said = capsys.readouterr().err.strip()
        assert said.startswith("subnetray: ")
        assert len(said.splitlines()) == 1
        assert "too large" in said
        # What is left is as if nothing had happened.
        left = {path.name for path in out.iterdir()} if out.exists() else set()
        assert left < {path.name for path in whole.iterdir()}
        for name in left - {"diff.json"}:
            assert (out / name).read_bytes() == (whole / name).read_bytes()
        if "diff.json" in left:
            assert json.loads((out / "diff.json").read_text())["n"] == rows


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """Two files of 320 MiB, of both kinds: neither is held in memory, mapped or not, beside the chunks in work."""
    shape = (8, 5 << 20)
    weights = [{f"model.layers.{n}.x": torch.full(shape, value).bfloat16() for n in range(4)} for value in (1.0, 2.0)]
    _save(tmp_path / "init", weights[0])
    (tmp_path / "final").mkdir()
    torch.save(weights[1], tmp_path / "final" / "pytorch_model.bin")
    # Not ru_maxrss, which a child takes over from its parent.
    code = (
        "import re, sys; from pathlib import Path; from subnetray.diff import main;"
        "peak = lambda: int(re.search('VmHWM:\\\\s*(\\\\d+)', Path('/proc/self/status').read_text())[1]) // 1024;"
        "base = peak();"
        "assert main(sys.argv[1:]) == 0;"
        "print('used', peak() - base)"
    )
    words = [f"init={tmp_path / 'init'}", f"final={tmp_path / 'final'}", f"out={tmp_path / 'out'}", "threads=2"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    used = int(done.stdout.split("used ")[1])
    assert used < 350
    assert json.loads((tmp_path / "out" / "diff.json").read_text())["sparsity"]["bitwise"] == 0
