"""Models of others: what a directory must hold, and what identifies it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from subnetray import models
from subnetray.config import ConfigError, PretrainedModel
from subnetray.models.pretrained import fingerprint


def write(directory: Path, fill: float = 0.0, shards: bool = False) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text('{"model_type": "qwen2"}')
    (directory / "tokenizer.json").write_text("{}")
    if not shards:
        save_file({"a": np.full(4, fill), "b": np.full(4, fill)}, directory / "model.safetensors")
        return directory
    for name in "ab":
        save_file({name: np.full(4, fill)}, directory / f"{name}.safetensors")
    index = {"weight_map": {name: f"{name}.safetensors" for name in "ab"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def of(path: Path | str) -> PretrainedModel:
    return PretrainedModel(name="x", path=str(path))


@pytest.mark.parametrize("shards", [False, True])
def test_a_whole_directory_is_taken_as_it_is(tmp_path: Path, shards: bool) -> None:
    directory = write(tmp_path / "model", shards=shards)
    assert models.prepare(of(directory), tmp_path / "cache", lambda _: None) == directory
    assert not (tmp_path / "cache").exists()


def unlink(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def put(name: str, content: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_text(content)


def pickled(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def cut(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("spoil", "shards", "sentence"),
    [
        (unlink("config.json"), False, "must hold config.json"),
        (put("config.json", "{}"), False, "must name a model_type"),
        (put("config.json", "{"), False, "is not valid JSON"),
        (put("config.json", "[]"), False, "must hold a JSON object"),
        (unlink("tokenizer.json"), False, "must hold a tokenizer"),
        (unlink("model.safetensors"), False, "and has no weights"),
        (pickled, False, "and has only pytorch_model.bin: convert it with save_pretrained"),
        (cut, False, "is no whole safetensors file"),
        (unlink("b.safetensors"), True, "names b.safetensors, and that file is missing"),
        (put("model.safetensors.index.json", "{}"), True, "must have a weight_map"),
        (put("model.safetensors.index.json", '{"weight_map": {"c": "a.safetensors"}}'), True, "must hold c, as"),
    ],
)
def test_a_directory_that_lacks_something_is_one_sentence(
    tmp_path: Path, spoil: Callable[[Path], object], shards: bool, sentence: str
) -> None:
    directory = write(tmp_path / "model", shards=shards)
    spoil(directory)
    with pytest.raises(ConfigError) as caught:
        models.check(of(directory))
    assert str(caught.value).startswith("model.path: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["nope", "/no/such/directory", "a/b/c", "../x/y"])
def test_neither_a_directory_nor_an_id(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^model\.path must be a local directory or a Hugging Face id such as"):
        models.check(of(path))


def test_an_id_is_its_own_identity() -> None:
    models.check(of("Qwen/Qwen2.5-0.5B"))
    key = models.model_key(of("Qwen/Qwen2.5-0.5B"))
    assert key == models.model_key(PretrainedModel(name="label", path="Qwen/Qwen2.5-0.5B"))
    assert key != models.model_key(PretrainedModel(name="x", path="Qwen/Qwen2.5-0.5B", revision="abc"))


def test_a_fingerprint_is_of_the_content_not_of_the_place(tmp_path: Path) -> None:
    one = write(tmp_path / "one")
    assert fingerprint(one) == fingerprint(write(tmp_path / "two")) != fingerprint(write(tmp_path / "three", 1.0))
    (one / "notes.md").write_text("not part of the model")
    assert models.model_key(of(one)) == models.model_key(of(tmp_path / "two"))
    (one / "tokenizer.json").write_text('{"version": 1}')
    assert models.model_key(of(one)) != models.model_key(of(tmp_path / "two"))


def test_a_fingerprint_of_large_weights_sees_a_trained_tensor(tmp_path: Path) -> None:
    weights = np.zeros(3 * 2**18)  # 6 MiB: more than is read in full
    prints = []
    for name, fill in (("one", 0.0), ("two", 1e-3)):
        directory = write(tmp_path / name)
        save_file({"a": weights + fill}, directory / "model.safetensors")
        prints.append(fingerprint(directory))
    assert prints[0] != prints[1]
