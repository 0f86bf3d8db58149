"""How much is compared is said before what was found, and "the same" of no more than that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from subnetray.diff import main
from subnetray.text import one_line, percent, shown
from tests.checkpoints import pairs


def test_a_trained_head_under_a_config_that_says_tied_is_counted(tmp_path: Path) -> None:
    init = pairs.weights()
    init["lm_head.weight"] = init["model.embed_tokens.weight"].clone()
    final = dict(init)
    final["lm_head.weight"] = (init["lm_head.weight"].float() * 1.3 + 1e-3).bfloat16()
    one = pairs.save(tmp_path / "init", init, tie_word_embeddings=True)
    two = pairs.save(tmp_path / "final", final, tie_word_embeddings=True)
    for found in (pairs.diff(one, two, tmp_path / "out"), pairs.diff(two, one, tmp_path / "back")):
        pairs.check(found, init, final)
        assert found["by_module"]["head"]["changed_bitwise"] == 528
        assert found["coverage"]["share"] == 1


@pytest.mark.parametrize("other", ["embedding", "both", "head"])
@pytest.mark.parametrize("back", [False, True])
def test_a_tied_model_that_stores_only_its_head_is_compared_whole(tmp_path: Path, other: str, back: bool) -> None:
    whole = pairs.weights()
    tensor = whole.pop("lm_head.weight")
    moved = pairs.moved(whole | {"model.embed_tokens.weight": tensor})
    one = whole | {"lm_head.weight": tensor}
    del one["model.embed_tokens.weight"]
    two = dict(moved)
    if other != "embedding":
        two["lm_head.weight"] = moved["model.embed_tokens.weight"].clone()
    if other == "head":
        del two["model.embed_tokens.weight"]
    places = [pairs.save(tmp_path / "one", one, tie_word_embeddings=True), pairs.save(tmp_path / "two", two)]
    found = pairs.diff(places[back], places[not back], tmp_path / "out")
    changed = sum(int((one.get(name, tensor) != new).sum()) for name, new in moved.items())
    assert sum(each["changed_bitwise"] for each in found["tensors"]) == changed
    assert found["n"] == sum(new.numel() for new in moved.values())
    assert found["coverage"]["share"] == 1


def test_less_than_99_percent_is_refused_and_partial_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = pairs.weights()
    final = {name: tensor for name, tensor in init.items() if "down_proj" not in name}
    words = [f"init={pairs.save(tmp_path / 'i', init)}", f"final={pairs.save(tmp_path / 'f', final)}"]
    out = tmp_path / "out"
    assert main([*words, f"out={out}"]) == 2
    said = capsys.readouterr().err
    assert "only 67.75 % of the init and 100 % of the final can be compared" in said
    assert "only in the init: model.layers.1.mlp.down_proj.weight (640 weights)" in said
    assert "partial=true" in said
    assert not out.exists()
    assert main([*words, f"out={out}", "partial=true"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("67.75 % compared: 1,345 of 1,985 weights of the init, 1,345 of 1,345 weights of the final")
    assert "no weight differs of the 67.75 % that could be compared" in said
    assert "are the same" not in said
    found = json.loads((out / "diff.json").read_text())["coverage"]
    assert found["of"] == {"init": 1985, "final": 1345}
    assert found["compared"] == {"init": 1345, "final": 1345}
    assert found["share"] == found["share_of"]["init"] == 1345 / 1985


def test_new_rows_of_a_vocabulary_are_said_and_forgiven_up_to_as_many_as_there_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = {"h.0.mlp.weight": torch.ones(16, 16), "transformer.wte.weight": torch.ones(50, 16)}
    one = pairs.save(tmp_path / "init", init)
    for rows, code in ((56, 0), (100, 0), (101, 2)):
        final = init | {"transformer.wte.weight": torch.ones(rows, 16)}
        two = pairs.save(tmp_path / f"final{rows}", final)
        assert main([f"init={one}", f"final={two}"]) == code
        said = capsys.readouterr()
        assert f"rows 50 to {rows - 1} are only in the final: resized vocabulary" in said.out + said.err
        assert "are the same" not in said.out
    padded = pairs.save(tmp_path / "padded", init | {"transformer.wte.weight": torch.ones(64, 16)}, vocab_size=50)
    assert main([f"init={one}", f"final={padded}"]) == 0
    assert "rows 50 to 63 are only in the final: padding of the vocabulary" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("embedding", "head", "bias"),
    [
        ("transformer.wte.weight", None, None),
        ("transformer.wte.weight", "lm_head.weight", "lm_head.bias"),
        ("gpt_neox.embed_in.weight", "embed_out.weight", None),
        ("transformer.word_embeddings.weight", "lm_head.weight", None),
        ("model.transformer.wte.weight", "model.transformer.ff_out.weight", None),
        ("tok_embeddings.weight", "output.weight", None),
    ],
)
def test_a_resized_vocabulary_is_one_whatever_a_family_calls_it(
    tmp_path: Path, embedding: str, head: str | None, bias: str | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    init = {"h.0.mlp.weight": torch.randn(16, 16, generator=generator)}
    init |= {name: torch.randn(50, 16, generator=generator) for name in (embedding, head) if name}
    init |= {bias: torch.randn(50, generator=generator)} if bias else {}
    final = pairs.moved(init)
    longer = {name: torch.cat([tensor, tensor[:6]]) if len(tensor) == 50 else tensor for name, tensor in final.items()}
    found = pairs.diff(pairs.save(tmp_path / "i", init), pairs.save(tmp_path / "f", longer), tmp_path / "out")
    pairs.check(found, init, final)
    assert found["coverage"]["share_of"]["init"] == 1
    assert {each["name"] for each in found["skipped"]} == {name for name in (embedding, head, bias) if name}


def test_a_layer_of_another_shape_is_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = pairs.save(tmp_path / "i", {"h.0.mlp.weight": torch.ones(16, 16), "wte.weight": torch.ones(50, 16)})
    two = pairs.save(tmp_path / "f", {"h.0.mlp.weight": torch.ones(18, 16), "wte.weight": torch.ones(50, 16)})
    assert main([f"init={one}", f"final={two}"]) == 2
    assert "these are other models" in capsys.readouterr().err


def test_buffers_that_one_tool_leaves_out_are_no_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = {"h.0.attn.c_proj.weight": torch.ones(4, 4)}
    buffers = {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.0.rotary_emb.inv_freq": torch.ones(9)}
    two = pairs.save(tmp_path / "f", init | buffers)
    found = pairs.diff(pairs.save(tmp_path / "i", init), two, tmp_path / "out")
    assert found["coverage"]["share"] == 1
    assert {each["name"] for each in found["skipped"]} == buffers.keys()
    assert "what else there is was not compared" in capsys.readouterr().out


def test_adapters_without_a_scale_are_named_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = pairs.weights()
    final = {name: tensor for name, tensor in init.items() if "q_proj.weight" not in name}
    at = "model.layers.0.self_attn.q_proj"
    final |= {f"{at}.base_layer.weight": init[f"{at}.weight"], f"{at}.lora_A.default.weight": torch.ones(2, 16)}
    final |= {f"{at}.lora_B.default.weight": torch.ones(16, 2)}
    words = [f"init={pairs.save(tmp_path / 'i', init)}", f"final={pairs.save(tmp_path / 'f', final)}"]
    assert main(words) == 2
    assert "an adapter that is not merged" in capsys.readouterr().err
    assert main([*words, "partial=true"]) == 0
    said = capsys.readouterr().out
    assert "100 % compared" not in said
    assert "not compared: an adapter that is not merged: no adapter_config.json" in said


def test_a_share_is_never_rounded_up_to_everything() -> None:
    assert [percent(share) for share in (1, 0.999999, 0.5, 1e-9, 0)] == [
        "100 %",
        "99.99 %",
        "50.00 %",
        "less than 0.01 %",
        "0 %",
    ]


def test_what_is_shown_is_one_line_without_control_codes() -> None:
    assert shown("a\x1b[31mb\n\u202ec\ud800") == "a\\x1b[31mb\\n\\u202ec\\ud800"
    assert len(shown("x" * 1_000_000)) == 160
    assert len(one_line("word " * 1000)) == 480
