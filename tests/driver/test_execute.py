"""What happens before the first run: refusals, then inits are made while all else starts."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from subnetray import models
from subnetray.config import ConfigError, EmbeddedModel
from subnetray.config.compose import Composer
from subnetray.driver import cluster, execute
from subnetray.driver.ledger import Ledger
from subnetray.driver.session import session
from subnetray.grid import plan
from subnetray.models.making import Making
from subnetray.store import derived
from subnetray.subnetwork import Mask
from tests.driver.sweeps import write_result


def _execute(tmp_path: Path, *overrides: str) -> list[str]:
    """Run a sweep of a fresh cache; what it said."""
    words = ["+grid=smoke", f"cache={tmp_path / 'cache'}", "tracking=disabled"]
    words += overrides or [f"out={tmp_path / 'out'}"]
    sweep, planned = plan(Composer(), words)
    said: list[str] = []
    execute.execute(sweep, planned, words, said.append)
    return said


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("nothing may be started or made")

    monkeypatch.setattr(cluster, "start", refuse)
    monkeypatch.setattr(execute, "Making", refuse)


@pytest.mark.usefixtures("nothing_starts")
def test_a_mask_of_another_model_is_refused_before_the_model_is_made(tmp_path: Path) -> None:
    Mask.from_bools({"model.embed_tokens.weight": torch.ones(4, 4, dtype=torch.bool)}).save(tmp_path / "mask", {})
    with pytest.raises(ConfigError, match=r"^subnetwork\.mask: .* is a mask of another model than .*/embedded-"):
        _execute(tmp_path, f"subnetwork.mask={tmp_path / 'mask'}", f"out={tmp_path / 'out'}")
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("nothing_starts")
def test_a_cache_that_cannot_be_written_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no directory")
    with pytest.raises(ConfigError, match=r"^the cache must be a directory that can be written to"):
        _execute(tmp_path)


def test_what_is_there_is_not_made_again_and_ray_is_stopped_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... and an init that could not be made is what the sweep ends with, whatever it does meanwhile."""
    happened: list[str] = []

    class Fails(Making):
        def __init__(self, configs: Sequence[EmbeddedModel], *_: Any) -> None:
            self.missing = [config.name for config in configs]

        def __enter__(self) -> Fails:
            happened.append(f"making {self.missing}")
            return self

        def wait(self) -> None:
            raise RuntimeError("an init could not be made: no space left")

        def __exit__(self, *_: object) -> None:
            happened.append("made")

    monkeypatch.setattr(execute, "Making", Fails)
    monkeypatch.setattr(cluster, "start", lambda _: happened.append("start"))
    monkeypatch.setattr(cluster, "stop", lambda: happened.append("stop"))
    monkeypatch.setattr(execute, "_engines", lambda *_: threading.Event().wait(30))
    (tmp_path / "cache").mkdir()
    with pytest.raises(RuntimeError, match=r"^an init could not be made: no space left$"):
        _execute(tmp_path)
    assert happened == ["making ['tiny']", "start", "stop", "made"]
    models.locate(EmbeddedModel(), tmp_path / "cache", print).mkdir(parents=True)
    with pytest.raises(RuntimeError):
        _execute(tmp_path, f"out={tmp_path / 'other'}")
    assert happened[4] == "making []"


@pytest.mark.parametrize(("step", "fresh"), [("_gather", False), ("_track", True)])
def test_a_sweep_whose_runs_are_all_done_has_a_private_place_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fresh: bool
) -> None:
    """W&B's process would else leave what it writes for itself in the system's temporary directory."""
    words = ["+grid=smoke", f"cache={tmp_path / 'cache'}", "tracking=disabled", f"out={tmp_path / 'out'}"]
    ledger = Ledger(tmp_path / "out", plan(Composer(), words)[1])
    ledger.open(words, "auto")
    for run in ledger.plan.runs:
        write_result(ledger.directory, run)
    ledger.release()
    places: list[str] = []

    def look(*_: object) -> int:
        places.extend((str(session.directory()), os.environ["TMPDIR"]))
        return 0

    monkeypatch.setattr(execute, step, look)
    monkeypatch.setattr(derived, "is_fresh", lambda *_: fresh)
    _execute(tmp_path, f"out={tmp_path / 'out'}")
    assert len(places) == 2
    assert len(set(places)) == 1
    assert session.directory() is None
