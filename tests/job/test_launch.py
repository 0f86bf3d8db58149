"""However a run ends, its directory says so."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from subnetray.config.compose import Composer
from subnetray.grid import plan
from subnetray.job import RunSpec, launch
from subnetray.text import LIMIT


def _raise(error: BaseException) -> Callable[..., None]:
    def run(*_: Any, **__: Any) -> None:
        raise error

    return run


def _exit(*_: Any, **__: Any) -> None:
    sys.exit(0)


def _spec(tmp_path: Path) -> RunSpec:
    run = plan(Composer(), ["+grid=single"])[1].runs[0]
    return RunSpec(run.run_id, run.config, tmp_path / "init", tmp_path / "run", (), 0, 1.0, 0.0)


def test_a_disk_that_takes_not_even_the_reason_leaves_no_result_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("subnetray.job.run.run", _raise(OSError(28, "No space left on device")))
    monkeypatch.setattr(importlib.import_module("subnetray.job.launch"), "write_atomic", full)
    spec = _spec(tmp_path)
    launch(spec, max_failures=0)
    assert not spec.result.exists()


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (_exit, r"RuntimeError: SystemExit\(0\) in .*test_launch.py, line [0-9]+: nothing that a run calls may end"),
        (_raise(KeyboardInterrupt()), r"RuntimeError: KeyboardInterrupt\(\) in .*test_launch.py"),
        (_raise(GeneratorExit()), r"RuntimeError: GeneratorExit\(\) in .*test_launch.py"),
        (_raise(StopIteration(3)), "StopIteration: 3$"),
        (_raise(ValueError("\x1b[31mred\x1b[0m\n" + "x" * 3_000_000)), "ValueError: red x+…$"),
    ],
)
def test_whatever_a_run_raises_is_its_failure_in_one_short_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., None], words: str
) -> None:
    monkeypatch.setattr("subnetray.job.run.run", run)
    spec = _spec(tmp_path)
    launch(spec, max_failures=0)
    result = json.loads(spec.result.read_text())
    assert result["status"] == "failed"
    assert len(result["error"]) <= LIMIT
    assert result["error"].isprintable()
    assert re.match(words, result["error"])
