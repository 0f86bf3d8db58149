"""Bad input is refused, what goes wrong leaves nothing partial, and what is odd is a finding."""

from __future__ import annotations

import json
import math
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from subnetray.checkpoints import Work, open_checkpoint
from subnetray.checkpoints import compare as module
from subnetray.checkpoints.match import match
from subnetray.config import ConfigError
from subnetray.diff import main
from subnetray.subnetwork.counting import Thresholds
from tests.checkpoints import pairs
from tests.checkpoints.pairs import TOLERANCES


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["init={one}"], "final= must name"),
        (["init={one}", "final={none}"], "final must be a local directory or file, or a Hugging Face id"),
        (["init={one}", "final={empty}"], "must hold model.safetensors"),
        (["init={one}", "final={two}", "dtype=int8"], "dtype must be one of bfloat16"),
        (["init={one}", "final={two}", "tolerances=[-1]"], "tolerances must be a list of numbers >= 0"),
        (["init={one}", "final={two}", "tolerance=[0]"], "tolerance=[0] is not an option of this command"),
        (["init={one}", "final={two}", "ulps=[0]"], "ulps must be a list of whole numbers >= 1"),
        (["init={one}", "final={two}", "ulps=[1.5]"], "ulps must be a list of whole numbers"),
        (["init={one}", "final={two}", "relative=0.1"], "relative must be a list of numbers"),
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
    weights = pairs.weights()
    places = {"one": pairs.save(tmp_path / "one", weights), "two": pairs.save(tmp_path / "two", weights)}
    places["none"] = tmp_path / "none"
    places["empty"] = tmp_path / "empty"
    places["empty"].mkdir()
    places["other"] = pairs.save(tmp_path / "other", {"x": torch.zeros(3)})
    places["shape"] = pairs.save(tmp_path / "shape", {"model.norm.weight": torch.zeros(17)})
    for name in ("truncated", "garbage"):
        places[name] = pairs.save(tmp_path / name, weights)
        file = places[name] / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-5] if name == "truncated" else b"\xff" * 50)
    places["missing"] = pairs.save(tmp_path / "missing", weights, shards=2)
    (places["missing"] / "model-1.safetensors").unlink()
    places["swapped"] = pairs.save(tmp_path / "swapped", weights)
    file = places["swapped"] / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape":[16],', b'"shape":[17],'))
    places["index"] = pairs.save(tmp_path / "index", weights, shards=2)
    (places["index"] / "model.safetensors.index.json").write_text('{"weight_map": {"x": ["model-0.safetensors"]}}')
    places["shard"] = pairs.save(tmp_path / "shard", weights, shards=2)
    file = places["shard"] / "model-1.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    for name, content in (("moved", '{"weight_map": {"model.norm.weight": "model-0.safetensors"}}'), ("json", "{")):
        places[name] = pairs.save(tmp_path / name, weights, shards=2)
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
    one, two = (
        pairs.save(tmp_path / "init", pairs.weights()),
        pairs.save(tmp_path / "final", pairs.moved(pairs.weights())),
    )
    out = tmp_path / "out"
    with open_checkpoint(one, "init") as a, open_checkpoint(two, "final") as b:
        file = two / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(ConfigError, match=r"final/model\.safetensors ends inside of tensor .*: it is truncated$"):
            module.compare_checkpoints(match(a, b), Thresholds(tolerances), None, Work(2), out if tolerances else None)
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


@pytest.mark.parametrize("where", ["config.json", "config.json/below"])
def test_a_file_in_place_of_out_is_refused_before_anything_is_read(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert main(["init=nowhere", "final=nowhere", f"out={tmp_path / where}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("subnetray: out must be a directory that can be written to, and ")
    assert said.endswith("config.json is no directory: choose another directory with out=\n")


@pytest.mark.parametrize("rows", [300, 200_000], ids=["picture is largest", "delta is largest"])
def test_a_full_disk_leaves_nothing_partial(tmp_path: Path, rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    init = {"x": torch.ones(rows, 1).bfloat16()}
    final = {"x": torch.where(torch.arange(rows) % 3 > 0, 2.0, 1.0).bfloat16()[:, None]}
    words = [
        f"init={pairs.save(tmp_path / 'init', init)}",
        f"final={pairs.save(tmp_path / 'final', final)}",
        "tolerances=[]",
    ]
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


def test_nan_and_identity_are_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = pairs.weights()
    one = pairs.save(tmp_path / "init", init)
    same = pairs.diff(one, pairs.save(tmp_path / "same", init), tmp_path / "a")
    assert same["sparsity"]["bitwise"] == 1
    assert "are the same, bit for bit" in capsys.readouterr().out
    init["model.norm.weight"][3] = math.nan
    broken = pairs.diff(one, pairs.save(tmp_path / "nan", init), tmp_path / "b")
    assert broken["nonfinite"] == 1
    init["model.norm.weight"][5] = -math.inf
    assert pairs.diff(one, pairs.save(tmp_path / "inf", init), tmp_path / "c")["nonfinite"] == 2
    assert "NaN or infinite" in capsys.readouterr().out


def test_results_are_those_of_the_last_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init = pairs.weights()
    one, two = pairs.save(tmp_path / "init", init), pairs.save(tmp_path / "final", pairs.moved(init))
    assert main([f"init={one}", f"final={two}", f"out={tmp_path / 'out'}"]) == 0
    kept = ["delta.safetensors", "diff.json", "heatmap.html", "heatmap.png", "mask.safetensors"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == kept
    assert "rounded" in pairs.diff(one, two, tmp_path / "out", "dtype=float16")["no_delta"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == kept[1:]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = (tmp_path / "out" / "mask.safetensors").read_bytes()
    monkeypatch.setattr(os, "pwrite", full)
    assert main([f"init={one}", f"final={two}", f"out={tmp_path / 'out'}"]) == 1
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == kept[1:]
    assert (tmp_path / "out" / "mask.safetensors").read_bytes() == before
