"""``parity=authors`` gives what the authors' scripts print, and says why our figures differ."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import subnetray
from subnetray.checkpoints.authors import COMMIT, SCRIPTS, parameters
from subnetray.checkpoints.authors.quirks import QUIRKS, UNKNOWN
from subnetray.diff import main
from tests.checkpoints import pairs
from tests.checkpoints.authors import scripts

PAGE = Path(subnetray.__file__).parents[1] / "docs" / "parity.md"
TOLERANCES = (0.0, 1e-8, 1e-6, 1e-5, 1e-4)
BF16 = torch.bfloat16


def _weights(seed: int = 0, dtype: torch.dtype = BF16) -> dict[str, Tensor]:
    """Eleven layers, so that their order is not that of their names, with matrices that are called layernorm."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (30, 8)}
    for layer in range(11):
        shapes |= {
            f"model.layers.{layer}.self_attn.q_proj.weight": (8, 12),
            f"model.layers.{layer}.mlp.down_proj.weight": (8, 20),
            f"model.layers.{layer}.input_layernorm.weight": (8,),
            f"model.layers.{layer}.layernorm_mixer.weight": (4, 4),
        }
    shapes |= {"model.norm.weight": (8,), "lm_head.weight": (30, 8)}
    return {name: (0.003 * torch.randn(shape, generator=generator)).to(dtype) for name, shape in shapes.items()}


def _moved(init: Mapping[str, Tensor], seed: int = 1) -> dict[str, Tensor]:
    """A share of the weights moved, another in each tensor; one of the matrices has rank 1."""
    generator = torch.Generator().manual_seed(seed)
    final = {}
    for number, (name, tensor) in enumerate(init.items()):
        chosen = torch.rand(tensor.shape, generator=generator) < number / len(init)
        step = 2e-5 * torch.randn(tensor.shape, generator=generator)
        final[name] = torch.where(chosen, (tensor.float() + step).to(tensor.dtype), tensor)
    rows = final["model.layers.3.mlp.down_proj.weight"]
    rows[1:] = init["model.layers.3.mlp.down_proj.weight"][1:]
    return final


def _parity(tmp_path: Path, init: Mapping[str, Tensor], final: Mapping[str, Tensor], *words: str) -> dict[str, Any]:
    one, two = pairs.save(tmp_path / "init", init, shards=2), pairs.save(tmp_path / "final", final)
    parity = () if any(word.startswith("parity=") for word in words) else ("parity=authors",)
    found = pairs.diff(one, two, tmp_path / "out", *parity, *words)
    json.dumps(found, allow_nan=False)
    parts: dict[str, Any] = found["parity"]
    return parts | {"ours": found}


def _check(found: Mapping[str, Any], init: Mapping[str, Tensor], final: Mapping[str, Tensor]) -> None:
    assert found["check_sparsity"]["printed"] == scripts.sparsity(init, final, TOLERANCES, BF16)
    assert found["update_rank"]["printed"] == [scripts.mean_rank(init, final)]
    known = {each["name"]: (each["rank"], each["full"]) for each in found["update_rank"]["matrices"]}
    assert known == scripts.ranks(init, final)


@pytest.mark.parametrize("chunk", [50, 1 << 22])
def test_figures_are_those_that_the_scripts_print(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parameters, "_CHUNK", chunk)
    init = _weights()
    final = _moved(init)
    found = _parity(tmp_path, init, final)
    _check(found, init, final)
    said = capsys.readouterr().out
    for line in found["check_sparsity"]["printed"]:
        assert line.rpartition(" ")[2].strip("torch.Size([])") in said
    assert found["update_rank"]["printed"][0] in said
    assert found["left_out"] == []
    assert "model.layers.3.layernorm_mixer.weight" not in {each["name"] for each in found["update_rank"]["matrices"]}


def test_each_figure_stands_beside_ours_and_each_quirk_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = _weights()
    found = _parity(tmp_path, init, _moved(init), "rank=true")
    said = capsys.readouterr().out
    ours = found["ours"]
    figures = {each["figure"]: each for each in found["figures"]}
    assert figures["Percentage of 0 values"]["subnetray"] == ours["sparsity"]["bitwise"]
    assert figures["Tolerance = 1e-05"]["subnetray"] == ours["sparsity"]["abs"]["1e-05"]
    layer = figures["Layer-wise sparsity, Layer 10"]
    assert layer["called"] == "density"
    assert layer["subnetray"] == pytest.approx(1 - ours["by_layer"]["10"]["sparsity"]["bitwise"])
    assert layer["printed"] != f"{layer['subnetray']:.4f}"  # norms weigh less
    assert f"{ours['rank']['mean']['numerical']:.4f} numerical rank" in said
    assert [each["name"] for each in found["quirks"]] == [each.name for each in QUIRKS]
    for quirk in QUIRKS:
        assert f"{quirk.name}: {quirk.theirs}; here, {quirk.ours}" in said
    for sentence in UNKNOWN:
        assert sentence in said
    assert found["commit"] == COMMIT


@pytest.mark.parametrize("script", ["check_sparsity", "update_rank"])
def test_one_script_alone(tmp_path: Path, script: str) -> None:
    init = _weights()
    final = _moved(init)
    found = _parity(tmp_path, init, final, f"parity={script}")
    assert {*SCRIPTS["authors"]} & found.keys() == {script}
    assert {each["name"] for each in found["quirks"]} == {each.name for each in QUIRKS if script in each.of}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_another_dtype_is_that_of_the_first_script(tmp_path: Path, dtype: torch.dtype) -> None:
    init = _weights(dtype=torch.float32)
    final = _moved(init)
    found = _parity(tmp_path, init, final, "parity=check_sparsity", f"dtype={str(dtype).removeprefix('torch.')}")
    assert found["check_sparsity"]["printed"] == scripts.sparsity(init, final, TOLERANCES, dtype)


def test_fp32_checkpoints_are_rounded_unless_asked_otherwise(tmp_path: Path) -> None:
    init = _weights(dtype=torch.float32)
    final = {name: tensor + 1e-9 for name, tensor in init.items()}
    found = _parity(tmp_path, init, final)
    _check(found, init, final)
    figure = next(each for each in found["figures"] if each["figure"] == "Percentage of 0 values")
    assert figure["subnetray"] < 0.9 < float(figure["printed"])  # ours as stored


def test_the_tolerance_is_rounded(tmp_path: Path) -> None:
    """1e-5 becomes 1.0014e-05 in bf16: a change of as much is none to the script, and one here."""
    step = float(torch.tensor(1e-5).to(BF16))
    assert step > 1e-5
    init = {"model.layers.0.a.weight": torch.zeros(4, 4, dtype=BF16)}
    final = {"model.layers.0.a.weight": torch.full((4, 4), step).to(BF16)}
    found = _parity(tmp_path, init, final, "tolerances=[1e-5]")
    assert found["check_sparsity"]["close"] == {"1e-05": 16}
    assert found["ours"]["sparsity"]["abs"]["1e-05"] == 0
    assert "1e-05 is 1.001e-05" in next(each["here"] for each in found["quirks"] if each["name"] == "rounded_tolerance")


def test_what_has_another_shape_is_left_out_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = _weights()
    final = _moved(init)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        final[name] = torch.cat([final[name], torch.ones(3, 8, dtype=BF16)])
    found = _parity(tmp_path, init, final)
    _check(found, init, final)
    assert [each["name"] for each in found["left_out"]] == ["lm_head.weight", "model.embed_tokens.weight"]
    assert found["left_out"][0]["reason"] == "shape (30, 8) in the init, (33, 8) in the final"
    n = sum(tensor.numel() for tensor in init.values())
    assert found["ours"]["n"] == n
    assert found["check_sparsity"]["n"] == n - 2 * 30 * 8
    assert "left out by the scripts: 2 tensors (528 weights): lm_head.weight" in capsys.readouterr().out


def test_what_one_has_alone_is_left_out(tmp_path: Path) -> None:
    init = _weights()
    final = _moved(init)
    del final["model.layers.2.mlp.down_proj.weight"]
    final["value_head.weight"] = torch.ones(5, 5, dtype=BF16)
    final["model.layers.0.rotary.inv_freq"] = torch.ones(4)  # a buffer: no parameter of either
    found = _parity(tmp_path, init, final, "partial=true")
    _check(found, init, final)
    assert found["left_out"] == [
        {"name": "model.layers.2.mlp.down_proj.weight", "reason": "only in the init", "n": 160},
        {"name": "value_head.weight", "reason": "only in the final", "n": 25},
    ]


@pytest.mark.parametrize("ties", [*itertools.product([True, False, None], repeat=2)], ids=str)
@pytest.mark.parametrize("stored", [*itertools.product([True, False], repeat=2)], ids=str)
def test_a_head_counts_as_the_config_says(
    tmp_path: Path, ties: tuple[bool | None, bool | None], stored: tuple[bool, bool]
) -> None:
    """A head is a parameter unless it is the embedding, in the init; in the final, it may be the embedding still."""
    weights = [_weights(), _moved(_weights())]
    places, models = [], []
    for side, (name, tied, held) in enumerate(zip(("init", "final"), ties, stored, strict=True)):
        kept = {key: tensor for key, tensor in weights[side].items() if held or key != "lm_head.weight"}
        config = {} if tied is None else {"tie_word_embeddings": tied}
        places.append(pairs.save(tmp_path / name, kept, **config))
        one = tied or (tied is None and not held)
        if one and name == "init":
            kept.pop("lm_head.weight", None)
        elif one:
            kept["lm_head.weight"] = kept["model.embed_tokens.weight"]
        models.append(kept)
    found = pairs.diff(places[0], places[1], tmp_path / "out", "parity=authors", "partial=true")["parity"]
    _check(found, *models)


@pytest.mark.parametrize(("tied", "rows"), [(False, 40), (True, 40), (False, 43)])
def test_figures_are_those_of_models_that_transformers_loads(tmp_path: Path, tied: bool, rows: int) -> None:
    models = []
    for seed, vocabulary in enumerate((40, rows)):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=tied,
        )
        models.append(LlamaForCausalLM(config).to(BF16))
    with torch.no_grad():
        olds = dict(models[0].named_parameters())
        for name, new in models[1].named_parameters():
            old = olds[name][: len(new)]
            step = 2e-5 * torch.randn(old.shape) * (torch.rand(old.shape) < 0.3)
            new[: len(old)] = (old.float() + step).to(BF16)
    places = [tmp_path / "init", tmp_path / "final"]
    for model, place in zip(models, places, strict=True):
        model.save_pretrained(place)
    found = pairs.diff(places[0], places[1], tmp_path / "out", "parity=authors")["parity"]
    init, final = (AutoModelForCausalLM.from_pretrained(place, dtype=BF16) for place in places)
    with torch.no_grad():
        _check(found, dict(init.named_parameters()), final.state_dict())


def test_a_head_of_the_same_bits_counts_twice(tmp_path: Path) -> None:
    init = _weights()
    init["lm_head.weight"] = init["model.embed_tokens.weight"].clone()
    final = _moved(init)
    final["lm_head.weight"] = final["model.embed_tokens.weight"].clone()
    found = _parity(tmp_path, init, final)
    _check(found, init, final)
    assert found["check_sparsity"]["n"] == found["ours"]["n"] + 30 * 8
    assert "in these: lm_head.weight counts" in {each["here"] for each in found["quirks"]}


def test_what_is_not_finite_counts_as_changed(tmp_path: Path) -> None:
    init = _weights()
    init["model.norm.weight"][:4] = torch.tensor([float("nan"), float("inf"), 0.0, 1.0])
    final = _moved(init)
    final["model.norm.weight"] = init["model.norm.weight"].clone()
    final["model.norm.weight"][2] = -0.0
    found = _parity(tmp_path, init, final)
    _check(found, init, final)
    ours = next(each for each in found["ours"]["tensors"] if each["name"] == "model.norm.weight")
    assert ours["changed_bitwise"] == 0
    assert found["check_sparsity"]["density_by_tensor"]["model.norm.weight"] == 2 / 8


def test_other_families_have_no_layers(tmp_path: Path) -> None:
    init, final = (
        {name.replace("model.", "model.language_model."): tensor for name, tensor in side.items()}
        for side in (_weights(), _moved(_weights()))
    )
    found = _parity(tmp_path, init, final)
    assert found["check_sparsity"]["printed"][-1] == "Layer-wise sparsity:"
    assert found["ours"]["by_layer"].keys() >= {"0", "10"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("parity=foo",), "parity must be one of authors, check_sparsity, update_rank, not 'foo'"),
        (("parity=[authors]",), "parity"),
        (("parity=''",), "parity must be one of"),
        (("parity=authors", "dtype=float32"), "parity=authors cannot be combined with dtype=float32: update_rank.py"),
        (("parity=update_rank", "dtype=float16"), "cannot be combined with dtype=float16"),
        (("parity=check_sparsity", "tolerances=[]"), "cannot be combined with tolerances=[]: check_sparsity.py asks"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither init nor final exists: nothing is looked at."""
    assert main(["init=a", "final=b", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_weights_that_the_scripts_would_not_load_as_numbers_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = _weights()
    name = "model.layers.1.mlp.down_proj.weight"
    final = _moved(init) | {
        name: init[name].to(torch.float8_e4m3fn),
        f"{name}_scale_inv": torch.ones(1, 1),
    }
    one, two = pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", final)
    assert main([f"init={one}", f"final={two}", "parity=authors", f"out={tmp_path / 'out'}"]) == 2
    assert f"parity: {name} in the final is" in capsys.readouterr().err
    assert not (tmp_path / "out" / "mask.safetensors").exists()


def test_the_page_names_each_quirk() -> None:
    text = PAGE.read_text()
    for quirk in QUIRKS:
        of = ", ".join(quirk.of)
        assert f"| `{quirk.name}` | {of} | {quirk.theirs} | {quirk.ours} |" in text
    for sentence in UNKNOWN:
        assert f"- {sentence}" in text
    assert COMMIT in text
