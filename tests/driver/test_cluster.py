"""A cluster that cannot be had is one sentence, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
import ray

from subnetray import models
from subnetray.config import Cluster, EmbeddedModel
from subnetray.driver import cluster
from subnetray.driver.aside import StartError
from subnetray.sweep import main
from subnetray.train import main as train


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ConnectionError("no node answered within 30 s\nand much more")

    monkeypatch.setattr(ray, "init", refuse)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (Cluster(), r"^Ray did not start: no node answered within 30 s$"),
        (Cluster(address="auto"), r"^no Ray cluster could be joined at cluster\.address=auto: no node answered"),
    ],
)
def test_ray_that_does_not_start_is_one_sentence(config: Cluster, sentence: str) -> None:
    with pytest.raises(StartError, match=sentence):
        cluster.start(config)


def test_the_commands_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.locate(EmbeddedModel(), tmp_path / "cache", print).mkdir()  # nothing is to be made
    words = [f"cache={tmp_path / 'cache'}", "tracking=disabled"]
    assert main(["+grid=smoke", f"out={tmp_path / 'smoke'}", *words]) == 1
    assert train([f"out={tmp_path / 'single'}", *words]) == 1
    assert capsys.readouterr().err == 2 * "subnetray: Ray did not start: no node answered within 30 s\n"
    assert not list(tmp_path.glob("*/runs/*"))
