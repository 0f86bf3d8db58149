"""Files that were damaged or made to mislead: one sentence, nothing written, nothing waited for."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from subnetray.diff import main
from tests.checkpoints import pairs
from tests.fuzzing import fuzz


def refused(capsys: pytest.CaptureFixture[str], *words: str, out: Path) -> str:
    """What the command says of bad input, which is one line and leaves nothing."""
    capsys.readouterr()
    assert main([*words, f"out={out}"]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert said.isprintable()
    assert len(said) <= 500
    assert not out.exists()
    return said


@pytest.mark.parametrize("shard", ["../x.safetensors", "{away}/x.safetensors", "a/../../x.safetensors", "", "x\0y"])
def test_an_index_names_no_file_outside_of_its_directory(
    tmp_path: Path, shard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    away = tmp_path / "away"
    away.mkdir()
    save_file(pairs.weights(), away / "x.safetensors")
    save_file(pairs.weights(), tmp_path / "x.safetensors")
    (tmp_path / "m").mkdir()
    content = {"weight_map": dict.fromkeys(pairs.weights(), shard.format(away=away))}
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(content))
    one = pairs.save(tmp_path / "one", pairs.weights())
    said = refused(capsys, f"init={one}", f"final={tmp_path / 'm'}", out=tmp_path / "out")
    assert "which is outside of" in said


def test_a_cache_whose_files_are_links_is_read(tmp_path: Path) -> None:
    """As that of the Hugging Face hub: the links are the user's own."""
    init = pairs.weights()
    one = pairs.save(tmp_path / "blobs", init)
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to("../blobs/model.safetensors")
    assert pairs.diff(one, tmp_path / "snapshot", tmp_path / "out")["sparsity"]["bitwise"] == 1


@pytest.mark.parametrize(
    "name", ["[/x]", "[bold]a", "\x1b[2J\x1b]0;t\x07", "a\nb", "\u202ex", "<script>", "%s{0}", "x" * 9999]
)
def test_names_are_shown_as_characters(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    init = {f"layers.0.{name}": torch.ones(300), "y": torch.ones(2), f"{name}.ids": torch.arange(2)}
    one, two = pairs.save(tmp_path / "i", init), pairs.save(tmp_path / "f", init)
    assert main([f"init={one}", f"final={two}", f"out={tmp_path / 'out'}", "partial=true", "rank=true"]) == 0
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines())
    assert "<script>" not in (tmp_path / "out" / "heatmap.html").read_text()
    other = pairs.save(tmp_path / "o", {f"layers.0.{name}": torch.ones(3)})
    refused(capsys, f"init={one}", f"final={other}", out=tmp_path / "none")


def test_paths_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = pairs.save(tmp_path / "one", pairs.weights())
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped" / "config.json")
    save_file(pairs.weights(), tmp_path / "piped" / "model.safetensors")
    for place, text in (
        ("x" * 300, "each of its names at most 255"),
        (f"{one}/model.safetensors/x", "must be a"),
        (tmp_path / "pipe", "must be a directory, a file or a Hugging Face id"),
        (tmp_path / "loop", "must be a"),
        ("/dev/zero", "must be a directory, a file or a Hugging Face id"),
        (tmp_path / "piped", "is no file but a pipe"),
    ):
        assert text in refused(capsys, f"init={one}", f"final='{place}'", out=tmp_path / "out")


@pytest.mark.parametrize("text", ["{", "[]", "5", "[" * 100_000, '{"a": NaN', "\xff"])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
def test_json_of_any_damaged_form(tmp_path: Path, file: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = pairs.save(tmp_path / "one", pairs.weights(), shards=2)
    two = pairs.save(tmp_path / "two", pairs.weights(), shards=2)
    (two / file).write_text(text, "latin-1")
    assert file in refused(capsys, f"init={one}", f"final={two}", out=tmp_path / "out")


def test_distributed_metadata_that_names_anything_else_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pickle

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    one = pairs.save(tmp_path / "one", pairs.weights())
    two = tmp_path / "two"
    two.mkdir()
    for data in (pickle.dumps(Runs()), b"", b"no pickle", pickle.dumps({"state_dict_metadata": 5})):
        (two / ".metadata").write_bytes(data)
        assert "is no metadata of torch" in refused(capsys, f"init={one}", f"final={two}", out=tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def _gguf(*, count: int = 0, entries: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, count, entries) + rest


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF",
        _gguf() + bytes(100),
        _gguf(count=1 << 60),
        _gguf(entries=1 << 60),
        _gguf(entries=1, rest=struct.pack("<Q", 1 << 60)),
        _gguf(entries=1, rest=struct.pack("<Q1sIIQ", 1, b"a", 9, 4, 1 << 60)),
        _gguf(entries=1, rest=struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 1 << 20)),
        _gguf(count=1, rest=struct.pack("<Q1sIQIQ", 1, b"a", 1, 1 << 40, 0, 0)),
        _gguf(count=1, rest=struct.pack("<Q1sIQIQ", 1, b"a", 1, 8, 77, 0)),
    ],
)
def test_a_gguf_header_is_believed_in_nothing(tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    one = pairs.save(tmp_path / "one", pairs.weights())
    (tmp_path / "x.gguf").write_bytes(data)
    start = time.monotonic()
    refused(capsys, f"init={one}", f"final={tmp_path / 'x.gguf'}", out=tmp_path / "out")
    assert time.monotonic() - start < 30


def test_a_pickled_shape_of_any_size_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = pairs.save(tmp_path / "one", pairs.weights())
    (tmp_path / "two").mkdir()
    torch.save({"model.norm.weight": torch.ones(1).expand(1 << 40)}, tmp_path / "two" / "pytorch_model.bin")
    said = refused(capsys, f"init={one}", f"final={tmp_path / 'two'}", out=tmp_path / "out")
    assert "more coordinates than the file has bytes" in said


def test_100_000_tensors_take_no_minutes(tmp_path: Path) -> None:
    weights = {f"layers.{n % 64}.experts.{n}.x": torch.zeros(1) for n in range(100_000)}
    one = pairs.save(tmp_path / "one", weights)
    start = time.process_time()
    assert main([f"init={one}", f"final={one}", "threads=1"]) == 0
    assert time.process_time() - start < 60


@given(data=st.data())
@fuzz(60)
def test_a_file_that_was_changed_anywhere_is_compared_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"]))
    init = pairs.weights()
    place = tmp_path / f"m{len(list(tmp_path.iterdir()))}"
    if kind == "pytorch_model.bin":
        place.mkdir()
        torch.save(init, place / kind)
    else:
        pairs.save(place, init, shards=2 if "index" in kind else 1)
    one = tmp_path / "one"
    if not one.exists():
        pairs.save(one, init)
    content = bytearray((place / kind).read_bytes())
    limit = len(content) if kind != "model.safetensors" else 900  # where the header is
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, limit - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    (place / kind).write_bytes(content)
    capsys.readouterr()
    out = place / "out"
    code = main([f"init={one}", f"final={place}", f"out={out}", "threads=1"])
    said = capsys.readouterr()
    assert code in (0, 2)
    if code == 2:
        assert len(said.err.strip().splitlines()) == 1
        assert len(said.err) <= 501
        assert said.err.strip().isprintable()
        assert not out.exists()
