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


def hub(cache: Path, name: str, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository as it lies in the hub's cache, on a machine without network: the snapshot is made of links."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository, commit = cache / f"models--{name.replace('/', '--')}", "0" * 40
    snapshot = repository / "snapshots" / commit
    for folder in (snapshot, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for index, (file, content) in enumerate(files.items()):
        (repository / "blobs" / str(index)).write_bytes(content)
        (snapshot / file).symlink_to(f"../../blobs/{index}")
    return snapshot


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_weights_alone_are_enough_to_compare_them(tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = hub(tmp_path / "hub", "org/name", {"config.json": b"{}", file: b"..."}, monkeypatch)
    said: list[str] = []
    assert models.locate_weights("org/name", "init", said.append) == snapshot
    assert said == ["fetching org/name from the Hugging Face hub, unless it is on this machine already"]
    assert models.locate_weights(str(snapshot / file), "init", said.append) == snapshot / file


def test_pickled_weights_are_fetched_only_if_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.utils._paths import filter_repo_objects

    remote = [
        "config.json",
        "pytorch_model.bin",
        "model.safetensors",
        "optimizer.bin",
        "original/a.safetensors",
        "x.py",
    ]

    def download(
        _: str, revision: str | None, allow_patterns: list[str], ignore_patterns: list[str], local_files_only: bool
    ) -> str:
        assert (revision, local_files_only) == (None, False)
        for name in filter_repo_objects(remote, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns):
            (tmp_path / name).touch()
        return str(tmp_path)

    def fetched() -> list[str]:
        models.locate_weights("org/name", "final", lambda _: None)
        return sorted(path.name for path in tmp_path.iterdir())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetched() == ["config.json", "model.safetensors"]
    (tmp_path / "model.safetensors").unlink()
    remote.remove("model.safetensors")
    assert fetched() == ["config.json", "pytorch_model.bin"]
    (tmp_path / "pytorch_model.bin").unlink()
    remote.remove("pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"^final: org/name on the Hugging Face hub has no weights"):
        fetched()


def test_an_id_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(tmp_path / "hub", "org/name", {}, monkeypatch)
    with pytest.raises(ConfigError, match=r"^init: org/other is no local directory and could not be fetched") as caught:
        models.locate_weights("org/other", "init", lambda _: None)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^init must be a local directory or file, or a Hugging Face id"):
        models.locate_weights("no/such/file", "init", lambda _: None)


def test_a_fingerprint_of_weights_is_of_no_other_file(tmp_path: Path) -> None:
    one = write(tmp_path / "one")
    before = models.weights_fingerprint(one)
    (one / "tokenizer.json").write_text('{"version": 1}')
    assert models.weights_fingerprint(one) == before != models.weights_fingerprint(write(tmp_path / "two", 1.0))
    (one / "config.json").write_text('{"model_type": "llama"}')
    assert models.weights_fingerprint(one) != before
    file = one / "model.safetensors"
    assert models.weights_fingerprint(file) != models.weights_fingerprint(tmp_path / "two" / "model.safetensors")
