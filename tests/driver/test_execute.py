"""What happens before the first run: refusals, then inits are made while Ray and engines start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from subnetray import models
from subnetray.compose import Composer
from subnetray.config import ConfigError, EmbeddedModel
from subnetray.driver import cluster, execute
from subnetray.grid import plan
from subnetray.subnetwork import Mask


class Reached(Exception):
    """The end of a test's way through a sweep."""


def _execute(tmp_path: Path, *overrides: str) -> list[str]:
    """Run a sweep of a fresh cache; what it said."""
    words = ["+grid=smoke", f"out={tmp_path / 'out'}", f"cache={tmp_path / 'cache'}", "tracking=disabled", *overrides]
    sweep, planned = plan(Composer(), words)
    said: list[str] = []
    execute.execute(sweep, planned, words, said.append)
    return said


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("nothing may be started or made")

    monkeypatch.setattr(cluster, "start", refuse)
    monkeypatch.setattr(models, "prepare", refuse)


@pytest.mark.usefixtures("nothing_starts")
def test_a_mask_of_another_model_is_refused_before_the_model_is_made(tmp_path: Path) -> None:
    Mask.from_bools({"model.embed_tokens.weight": torch.ones(4, 4, dtype=torch.bool)}).save(tmp_path / "mask", {})
    with pytest.raises(ConfigError, match=r"^subnetwork\.mask: .* is a mask of another model than .*/embedded-"):
        _execute(tmp_path, f"subnetwork.mask={tmp_path / 'mask'}")
    assert list((tmp_path / "cache" / "models").iterdir()) == []


@pytest.mark.usefixtures("nothing_starts")
def test_a_cache_that_cannot_be_written_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no directory")
    with pytest.raises(ConfigError, match=r"^the cache .* must be writable"):
        _execute(tmp_path)


@pytest.mark.parametrize("first", ["Ray", "the init"])
def test_inits_are_made_while_ray_starts_and_ray_is_stopped_whatever_happens(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither waits for the other: each goes on once the other has begun. Where one fails, the other has ended too."""
    begun = {"Ray": threading.Event(), "the init": threading.Event()}
    ended: list[str] = []

    def go(what: str) -> None:
        begun[what].set()
        assert all(each.wait(30) for each in begun.values())
        ended.append(what)
        if what == first:
            raise Reached

    monkeypatch.setattr(cluster, "exit_on_sigterm", lambda: None)
    monkeypatch.setattr(execute, "_start", lambda *_: go("Ray"))
    monkeypatch.setattr(models, "prepare", lambda *_: go("the init"))
    monkeypatch.setattr(cluster, "stop", lambda: ended.append("stop"))
    with pytest.raises(Reached):
        _execute(tmp_path)
    assert sorted(ended[:2]) == ["Ray", "the init"]
    assert ended[2:] == ["stop"]


def test_inits_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    (_, planned), said = plan(Composer(), ["+grid=smoke"]), list[str]()
    inits = execute._locate(planned, tmp_path, said.append)
    assert [model for model in inits if isinstance(model, EmbeddedModel)] == list(inits)
    for init in inits.values():
        init.mkdir(parents=True)
    execute._make(inits, tmp_path, said.append)
    assert said == []


def test_sigterm_ends_the_driver_as_an_exit_does() -> None:
    code = (
        "import os, signal\n"
        "from subnetray.driver import cluster\n"
        "cluster.exit_on_sigterm()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    signal.pause()\n"
        "finally:\n    print('stopped')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "stopped\n")
