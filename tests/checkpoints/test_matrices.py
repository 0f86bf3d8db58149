"""``rank=true`` and ``geometry=true``: the matrices of two checkpoints on disk against those in memory."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from subnetray.checkpoints import matrices as module
from subnetray.checkpoints import open_checkpoint
from subnetray.checkpoints.findings import describe_matrices, show_matrices
from subnetray.checkpoints.match import match
from subnetray.checkpoints.matrices import Asked
from subnetray.diff import main
from subnetray.subnetwork import energy_masks, matrix_geometry, rank, rank_bounds
from tests.subnetwork.matrices import moved, random_mask, weights

EXPERTS = "model.layers.1.mlp.experts.down_proj"


def _init(dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    return {
        "model.embed_tokens.weight": weights(33, 16, 0, dtype),
        "model.layers.0.self_attn.q_proj.weight": weights(24, 40, 1, dtype),
        EXPERTS: weights(3 * 8, 10, 2, dtype).reshape(3, 8, 10),
        "model.norm.weight": torch.ones(16, dtype=dtype),
    }


def _final(init: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Some coordinates moved, in fp32 too."""
    final = {}
    for seed, (name, tensor) in enumerate(init.items(), 100):
        chosen = random_mask(1, tensor.numel(), 0.6, seed).reshape(tensor.shape)
        final[name] = torch.where(chosen, moved(tensor, 3e-5, seed), tensor)
    return final


def _save(directory: Path, tensors: Mapping[str, Tensor]) -> Path:
    directory.mkdir()
    save_file(dict(tensors), directory / "model.safetensors")
    return directory


def _describe(
    tmp_path: Path, init: Mapping[str, Tensor], final: Mapping[str, Tensor], ranks: bool = True, geometry: bool = True
) -> dict[str, Any]:
    places = [_save(tmp_path / name, tensors) for name, tensors in (("init", init), ("final", final))]
    with open_checkpoint(places[0], "init") as one, open_checkpoint(places[1], "final") as two:
        found = describe_matrices(match(one, two), None, Asked(ranks, geometry), threads=1, progress=lambda _: None)
    json.dumps(found, allow_nan=False)
    return found


def _shown(found: dict[str, Any]) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    show_matrices(found, console)
    return console.export_text()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_findings_are_those_of_tensors_in_memory(
    tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 50)
    init = _init(dtype)
    final = _final(init)
    found = _describe(tmp_path, init, final)
    tensors = {name: (init[name], final[name]) for name in init if init[name].dim() == 2}
    tensors |= {f"{EXPERTS}[{index}]": (init[EXPERTS][index], final[EXPERTS][index]) for index in range(3)}
    for part in ("rank", "geometry"):
        assert {each["name"] for each in found[part]["matrices"]} == tensors.keys()
        assert found[part]["skipped"] == [{"name": "model.norm.weight", "reason": "no matrix"}]
    for each in found["rank"]["matrices"]:
        old, new = tensors[each["name"]]
        expected = rank([new.float() - old.float()], old.shape)
        assert each["shape"] == list(old.shape)
        assert {key: each[key] for key in ("full", "numerical", "energy_99")} == {
            key: getattr(expected, key) for key in ("full", "numerical", "energy_99")
        }
        assert each["stable"] == pytest.approx(expected.stable)
        assert each["method"] == each["shuffled"]["method"] == "exact"
        assert each["shuffled"]["stable"] != pytest.approx(expected.stable, rel=1e-6)
    for each in found["geometry"]["matrices"]:
        old, new = tensors[each["name"]]
        expected_geometry = matrix_geometry(old, new)
        assert each["drift"]["nss"] == pytest.approx(expected_geometry.drift.nss)
        assert each["rows"]["dispersion_within_ulp"] == pytest.approx(expected_geometry.rows_within_ulp.dispersion)
        assert each["columns"]["dispersion"] == pytest.approx(expected_geometry.columns.dispersion)
        assert each["principal"]["0.5"]["k12"] == expected_geometry.principal[0.5].counts.k12
        assert each["small"]["0.05"]["k1"] == int((old != new).sum())
        assert each["concentration"]["counts"]["0.9"] == energy_masks({"": old}, {"": new}, [0.9])[0.9].k
    masks = energy_masks(init, final, [0.5, 0.99])
    whole = found["geometry"]["concentration"]
    assert whole["n"] == sum(tensor.numel() for tensor in init.values())
    assert whole["counts"]["0.5"] == masks[0.5].k
    assert whole["counts"]["0.99"] == masks[0.99].k
    assert "rank of Δ, of full (5 matrices)" in _shown(found)
    assert f"{masks[0.5].k / whole['n']:.2%}" in _shown(found)


def test_means_are_over_matrices_and_enrichments_pooled(tmp_path: Path) -> None:
    init = _init()
    found = _describe(tmp_path, init, _final(init))
    ranks, mean = found["rank"]["matrices"], found["rank"]["mean"]
    assert mean["exact"] == 5
    assert mean["numerical"] == pytest.approx(np.mean([each["numerical"] / each["full"] for each in ranks]))
    assert mean["shuffled"]["stable"] == pytest.approx(np.mean([each["shuffled"]["stable"] for each in ranks]))
    of, mean = found["geometry"]["matrices"], found["geometry"]["mean"]
    assert mean["rows"]["dispersion"] == pytest.approx(np.mean([each["rows"]["dispersion"] for each in of]))
    pooled = [sum(each["principal"]["0.5"][key] for each in of) for key in ("k12", "expected")]
    assert mean["principal"]["0.5"]["enrichment"] == pytest.approx(pooled[0] / pooled[1])
    within = sum(each["principal"]["0.5"]["within_ulp"]["expected"] for each in of)
    assert mean["principal"]["0.5"]["within_ulp"]["enrichment"] == pytest.approx(pooled[0] / within)


def test_the_command_says_and_writes_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = _init()
    one, two = _save(tmp_path / "one", init), _save(tmp_path / "two", _final(init))
    assert main([f"init={one}", f"final={two}", "geometry=true", "threads=1"]) == 0
    said = capsys.readouterr().out
    assert "spectral drift" in said
    assert "rank of Δ" not in said
    assert main([f"init={one}", f"final={two}", "rank=true", "threads=1", f"out={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert "spectral drift" not in said
    assert "rank of Δ" in said
    found = json.loads((tmp_path / "out" / "diff.json").read_text())
    assert "geometry" not in found
    assert found["rank"] == _describe(tmp_path, init, _final(init), geometry=False)["rank"]


def test_what_has_no_spectrum_is_skipped_by_name_and_the_rest_is_not(tmp_path: Path) -> None:
    init = _init() | {"empty.weight": torch.zeros(0, 4, dtype=torch.bfloat16)}
    final = _final(init)
    final[EXPERTS][1, 2, 3] = math.nan
    found = _describe(tmp_path, init, final)
    skipped = {each["name"]: each["reason"] for each in found["geometry"]["skipped"]}
    assert skipped.keys() == {"model.norm.weight", "empty.weight", f"{EXPERTS}[1]", "concentration"}
    assert "not finite" in skipped[f"{EXPERTS}[1]"]
    assert "not finite" in skipped["concentration"]
    assert found["geometry"]["concentration"] is None
    assert found["rank"]["mean"]["exact"] == found["geometry"]["mean"]["matrices"] == 4
    assert f"not decomposed: {EXPERTS}[1]" in _shown(found)
    assert "model.norm.weight" not in _shown(found)


def test_nothing_changed_and_no_matrix_at_all(tmp_path: Path) -> None:
    same = {"a.weight": weights(5, 6, 0)}
    found = _describe(tmp_path, same, same)
    assert found["rank"]["matrices"][0]["numerical"] == 0
    assert found["rank"]["mean"]["stable"] is None
    only = found["geometry"]["matrices"][0]
    assert only["drift"]["nss"] == 0
    assert only["principal"]["0.5"]["enrichment"] is None
    assert only["rows"]["dispersion"] is None
    (tmp_path / "vectors").mkdir()
    vectors = {"norm.weight": torch.ones(4)}
    found = _describe(tmp_path / "vectors", vectors, vectors)
    assert found["rank"]["matrices"] == found["geometry"]["matrices"] == []
    assert found["geometry"]["mean"]["drift"]["nss"] is None


def test_beyond_the_exact_size_bounds_are_given_and_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("subnetwork.update.spectrum", "checkpoints.matrices"):
        monkeypatch.setattr(f"subnetray.{place}.EXACT", 20)
    monkeypatch.setattr(module, "_DIRECTIONS", 8)
    init = _init()
    final = _final(init)
    found = _describe(tmp_path, init, final)
    name = "model.layers.0.self_attn.q_proj.weight"
    large = next(each for each in found["rank"]["matrices"] if each["name"] == name)
    expected = rank_bounds(final[name].float() - init[name].float(), 8)
    assert large["method"] == large["shuffled"]["method"] == "randomised"
    assert large["energy_99"] == list(expected.energy_99)
    assert large["stable"] == pytest.approx(expected.stable)
    assert found["rank"]["mean"]["exact"] == 4
    drift = next(each["drift"] for each in found["geometry"]["matrices"] if each["name"] == name)
    assert (drift["method"], drift["nss"]) == ("randomised", None)
    assert drift["angle_error"] > 0
    assert "of full (4 matrices)" in _shown(found)


@pytest.mark.parametrize("key", ["rank", "geometry"])
def test_the_keys_are_true_or_false(tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"init={tmp_path}", f"final={tmp_path}", f"{key}=8"]) == 2
    assert f"{key} must be true or false, not '8'" in capsys.readouterr().err
