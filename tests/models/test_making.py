"""Embedded models that a process of their own makes."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from subnetray import models
from subnetray.config import ConfigError, EmbeddedModel
from subnetray.models.making import Making

CONFIG = EmbeddedModel(
    name="small", hidden_size=64, intermediate_size=64, layers=1, heads=2, kv_heads=1, pretrain_steps=3
)


def test_models_are_made_and_said_to_be(tmp_path: Path) -> None:
    tuned = dataclasses.replace(CONFIG, name="tuned", sft_steps=2)
    said: list[str] = []
    start = time.monotonic()
    with Making([CONFIG, tuned], tmp_path, said.append) as making:
        making.wait()
    assert [line.split(" step ")[0] for line in said] == ["small: pretraining:", "tuned: SFT:"]
    assert 0 < making.cpu_s < time.monotonic() - start
    for config in (CONFIG, tuned):
        path = models.locate(config, tmp_path, said.append)
        assert (path / "model.safetensors").is_file()
        # The bytes are those that this process would make.
        again = models.prepare(config, tmp_path / "again", lambda _: None)
        assert (again / "model.safetensors").read_bytes() == (path / "model.safetensors").read_bytes()
    # Engines are built from what is there before: models of one shape have it in common.
    blank = models.locate_blank(CONFIG, tmp_path)
    assert models.locate_blank(tuned, tmp_path) == blank
    files = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "model.safetensors"}
    assert {file.name: file.read_bytes() for file in blank.iterdir()} == files


def test_leaving_it_ends_it_and_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a machine that is busy it may take its time; who does not end is killed, and leaves what the next one removes.
    monkeypatch.setattr("subnetray.models.making._PATIENCE_S", 180.0)
    with Making([dataclasses.replace(CONFIG, pretrain_steps=10**6)], tmp_path, print) as making:
        # A Ctrl-C that reaches the driver's group is not taken for a failure to make it.
        assert making._process is not None
        assert os.getsid(making._process.pid) != os.getsid(0)
        deadline = time.monotonic() + 120
        # All but the weights comes first, in a directory of its own, which is begun likewise.
        blank = models.locate_blank(CONFIG, tmp_path)
        while not (blank.is_dir() and list(tmp_path.glob("models/.embedded-*"))):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert list((tmp_path / "models").iterdir()) == [blank]


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with (
        Making([CONFIG], tmp_path / "file", print) as making,
        pytest.raises(ConfigError, match=r"^the cache .* must be"),
    ):
        making.wait()


def test_nothing_to_make_starts_nothing(tmp_path: Path) -> None:
    with Making([], tmp_path, print) as making:
        making.wait()
    assert making._process is None
    assert making.cpu_s == 0
