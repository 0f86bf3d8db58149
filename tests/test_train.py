"""``python -m subnetray.train``: what it makes of its overrides; a run of it is in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray.config.compose import Composer
from subnetray.grid import plan
from subnetray.train import main


def test_a_run_is_that_of_a_sweep(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same id: what has been trained in a sweep and by itself is the same run."""
    assert main(["algorithm=sft", "algorithm.lr=1e-4", "seed=3", "dry_run=true", f"out={tmp_path / 'out'}"]) == 0
    run_id, _, directory = capsys.readouterr().out.split()
    words = ["+grid=smoke", "grid.overrides=[]", "grid.seeds=[3]"]
    _, planned = plan(Composer(None), words)
    same = {run.run_id for run in planned.runs if run.cell == {"method": "sft_gold", "learning_rate": "1e-4"}}
    assert same == {run_id}
    assert directory == str(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert main(["algorithm=sft", "algorithm.lr=1e-4", "seed=4", "dry_run=true"]) == 0
    other, _, directory = capsys.readouterr().out.split()
    assert other != run_id
    assert directory.endswith(f"outputs/train/{other}")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["+grid=origins"], "one run has no grid"),
        (["grid.seeds=[1]"], "one run has no grid"),
        (["seed=x"], "seed must be a whole number, not 'x'"),
        (["seed=[1,2]"], "seed must be a whole number, not '[1,2]'"),
        (["seed=1,2"], "seed takes one value"),
        (["seed=-1"], "seed must be a whole number from 0"),
        (["algorithm=none"], "algorithm"),
        (["algorithm.lr=-1"], "algorithm.lr"),
    ],
)
def test_bad_input(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert text in said
    assert len(said.splitlines()) == 1
