"""What of two checkpoints is compared with what, and what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from subnetray.subnetwork import Delta, Mask, weights_hash
from tests.checkpoints import pairs


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
    init, final = pairs.weights(), pairs.moved(pairs.weights())
    names = {name: rename(name) for name in init}
    if back:
        init = {names[name]: tensor for name, tensor in init.items()}
        names = {new: old for old, new in names.items()}
    renamed = {names[name]: tensor for name, tensor in zip(names, final.values(), strict=True)}
    found = pairs.diff(pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", renamed), tmp_path / "out")
    final = dict(zip(init, final.values(), strict=True))
    assert found["skipped"] == []
    pairs.check(found, init, final)
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
    one, two = pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", final)
    found = pairs.diff(one, two, tmp_path / "out", "partial=true")
    assert [tensor["name"] for tensor in found["tensors"]] == ["x"]
    assert [each["name"] for each in found["skipped"]] == ["norm.weight", "model.norm.weight", "module.norm.weight"]


def test_a_resized_vocabulary_is_compared_where_both_have_rows(tmp_path: Path) -> None:
    init, final = pairs.weights(), pairs.moved(pairs.weights())
    longer = {name: torch.cat([t, t[:3]]) if t.shape[0] == 33 else t for name, t in final.items()}
    found = pairs.diff(pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", longer), tmp_path / "out")
    pairs.check(found, init, final)
    assert {each["name"] for each in found["skipped"]} == {"model.embed_tokens.weight", "lm_head.weight"}
    assert all("rows 33 to 35 are only in the final" in each["reason"] for each in found["skipped"])


@pytest.mark.parametrize("stored", ["both", "final", "neither"])
def test_a_tied_head_counts_once(tmp_path: Path, stored: str) -> None:
    init, final = pairs.weights(), pairs.moved(pairs.weights())
    for weights, keeps in ((init, stored == "both"), (final, stored != "neither")):
        del weights["lm_head.weight"]
        if keeps:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    found = pairs.diff(
        pairs.save(tmp_path / "init", init, tie_word_embeddings=True),
        pairs.save(tmp_path / "final", final, tie_word_embeddings=True),
        tmp_path / "out",
    )
    for weights in (init, final):
        weights.pop("lm_head.weight", None)
    pairs.check(found, init, final)
    assert [each["name"] for each in found["skipped"]] == ([] if stored == "neither" else ["lm_head.weight"])


@pytest.mark.parametrize("config", [{"tie_word_embeddings": True}, {}], ids=["said", "by_default"])
@pytest.mark.parametrize("back", [False, True])
def test_a_head_that_was_untied_is_compared_with_the_embedding_it_came_from(
    tmp_path: Path, config: dict[str, bool], back: bool
) -> None:
    tied = pairs.weights()
    del tied["lm_head.weight"]
    untied = pairs.moved(tied)
    untied["lm_head.weight"] = tied["model.embed_tokens.weight"].clone()
    untied["lm_head.weight"][0] += 1
    one = pairs.save(tmp_path / "tied", tied, **config)
    two = pairs.save(tmp_path / "untied", untied, tie_word_embeddings=False)
    found = pairs.diff(two, one, tmp_path / "out") if back else pairs.diff(one, two, tmp_path / "out")
    tied["lm_head.weight"] = tied["model.embed_tokens.weight"]
    pairs.check(found, *((untied, tied) if back else (tied, untied)))
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
    one, two = pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", init)
    found = pairs.diff(one, two, tmp_path / "out", "partial=true")
    assert found["n"] == 3
    assert [each["name"] for each in found["skipped"]] == ["ids", "scale"]
    assert "F8_E4M3" in found["skipped"][1]["reason"]
    assert found["no_delta"] == "2 tensors or rows were left out"


def test_scalars_empty_tensors_and_single_files(tmp_path: Path) -> None:
    init = {"a": torch.tensor(1.0), "b": torch.zeros(0, 4), "c": torch.zeros(1, 9)}
    final = {"a": torch.tensor(2.0), "b": torch.zeros(0, 4), "c": torch.zeros(1, 9)}
    one, two = pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", final)
    found = pairs.diff(one / "model.safetensors", two, tmp_path / "out")
    assert found["n"] == 10
    assert found["sparsity"]["bitwise"] == 0.9
    assert Mask.load(tmp_path / "out" / "mask.safetensors") == Mask.between(init, final)
    assert weights_hash(Delta.load(tmp_path / "out" / "delta.safetensors").apply(init)) == weights_hash(final)
    empty = pairs.save(tmp_path / "empty", {"b": torch.zeros(0, 4)})
    assert pairs.diff(empty, empty, tmp_path / "none")["sparsity"]["bitwise"] is None


def test_a_tensor_that_an_index_forgot_is_compared(tmp_path: Path) -> None:
    init = pairs.weights()
    one = pairs.save(tmp_path / "init", init, shards=2)
    index = json.loads((one / "model.safetensors.index.json").read_text())
    del index["weight_map"]["model.norm.weight"]
    (one / "model.safetensors.index.json").write_text(json.dumps(index))
    pairs.check(
        pairs.diff(one, pairs.save(tmp_path / "final", pairs.moved(init)), tmp_path / "out"), init, pairs.moved(init)
    )


def test_what_only_one_has_is_reported(tmp_path: Path) -> None:
    init, final = pairs.weights(), pairs.moved(pairs.weights())
    del final["model.norm.weight"]
    final["value_head.weight"] = torch.zeros(3)
    found = pairs.diff(pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", final), tmp_path / "out")
    assert {each["name"]: each["reason"] for each in found["skipped"]} == {
        "model.norm.weight": "only in the init",
        "value_head.weight": "only in the final",
    }
