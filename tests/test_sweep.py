"""Bad input ends the command before any work: exit code 2, one sentence that names what is wrong, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray.sweep import main


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+grid=origins", "algorithm.lr=abc"], "algorithm.lr"),
        (["+grid=nope"], "origins"),
        (["+grid=origins", "model=nope"], "tiny"),
        (["+grid=origins", "task=nope"], "arithmetic"),
        (["+grid=origins", "algorithm.epsilon=-1"], "algorithm.epsilon"),
        (["+grid=origins", "algorithm.leraning_rate=1"], "leraning_rate"),
        (["+grid=origins", "grid.seeds=[0,0]"], "grid.seeds"),
        (["+grid=origins", "precision=int4"], "precision"),
        (["+grid=origins", "cluster.cpus_per_run=10000"], "cluster.cpus_per_run"),
        (["+grid=origins", "cluster.memory_gib_per_run=1000000"], "cluster.memory_gib_per_run"),
        (["+grid=origins", "rollout.max_new_tokens=2"], "rollout.max_new_tokens"),
        (["+grid=origins", "resume=must"], "resume=must"),
        (["+grid=origins", "grid.factors.clip.baseline=2.0"], "clip"),
        (["+grid"], "+grid"),
        ([], "+grid="),
    ],
)
def test_bad_input(
    overrides: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(overrides) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("subnetray: ")
    assert len(said.err.strip().splitlines()) == 1
    assert words in said.err
    assert not (tmp_path / "outputs").exists()


def test_a_file_is_no_output_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["+grid=smoke", f"out={tmp_path / 'file'}"]) == 2
    assert "out must be a directory" in capsys.readouterr().err
