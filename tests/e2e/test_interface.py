"""A sweep that Python code runs, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from subnetray import run_sweep

pytestmark = pytest.mark.e2e


def test_a_sweep_is_run_and_opened_and_not_run_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["algorithm=sft", "algorithm.steps=2", "algorithm.batch_size=8", "evaluation.prompts=4", "rollout=hf"]
    said: list[str] = []
    sweep = run_sweep("single", [*small, "tracking=disabled", "out=here"], say=said.append)
    assert list(sweep.runs["status"]) == ["done"]
    assert sweep.directory == tmp_path / "here"
    assert any(line.startswith("[1/1]") for line in said)
    assert not ray.is_initialized()
    said.clear()
    again = run_sweep("single", [*small, "tracking=disabled", "out=here"], say=said.append)
    assert again.runs.equals(sweep.runs)
    assert not any(line.startswith("[1/1]") for line in said)
