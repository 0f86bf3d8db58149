"""``--cfg`` and ``--help``: what a command line composes to, and what it can choose from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from subnetray import sweep, train
from subnetray.config import RunConfig
from subnetray.config.compose import Composer
from subnetray.config.words import GROUPS
from subnetray.grid import plan
from subnetray.reporting.source import grid_of

REAL = ["model=smollm2_135m", "task=reasoning_gym", "task.parameters={max_terms:3}", "algorithm.max_grad_norm=null"]


@pytest.mark.parametrize("words", [["+grid=smoke"], ["+grid=smoke", *REAL, "grid.seeds=[7]"], ["+grid=early"]])
def test_the_job_is_the_run_of_the_baseline(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main([*words, "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert RunConfig.from_dict(shown) == plan(Composer(), words)[1].runs[0].config


def test_the_grid_is_the_one_that_is_run_and_what_it_leaves_out_is_a_comment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["+grid=origins", "model=smollm2_135m", "grid.seeds=[1,2]"]
    assert sweep.main(["--cfg=grid", *words]) == 0
    text = capsys.readouterr().out
    _, planned = plan(Composer(), words)
    assert grid_of({"grid": yaml.safe_load(text)}, Path()) == planned.grid
    assert [line for line in text.splitlines() if line.startswith("#")] == [f"# {each}" for each in planned.left_out]


def test_all_has_the_keys_of_a_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep.main(["--cfg", "all", "+grid=smoke", "cluster.workers=2", "out=x", "rollout=hf"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert set(shown) == {key for key in Composer().keys(["+grid=smoke"]) if "." not in key}
    assert (shown["cluster"]["workers"], shown["out"], shown["rollout"]["name"]) == (2, "x", "hf")
    assert not list(tmp_path.iterdir())


def test_a_run_and_a_grid_of_pairs_are_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--cfg=job", "algorithm=dpo", "seed=3"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["algorithm"]["name"], shown["seed"]) == ("dpo", 3)
    assert sweep.main(["--cfg=all", "+grid=checkpoints", "pairs=[dpo-tulu-8b]"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["pairs"] == ["dpo-tulu-8b"]


def test_help_names_every_choice_and_the_default_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [tiny, _self_]\n")
    assert sweep.main([f"--config-dir={tmp_path}", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    named = {
        sign + group: re.split(r",? ", names.strip())
        for sign, group, names in re.findall(r"(\+?)(\w+)= ((?:[\w.]+(?: \(default\))?,? )+)", said)
    }
    assert {name.lstrip("+") for name in named} == set(GROUPS)
    assert {name for name in named if name.startswith("+")} == {"+grid", "+recipe"}
    composer, run = Composer(tmp_path), plan(Composer(), ["+grid=single"])[0]
    assert "mine" in composer.choices("model")
    for name, found in named.items():
        names = [each for each in found if each not in ("(default)", "python")]
        assert sorted(names) == composer.choices(name.lstrip("+"))
    for group in ("model", "task", "algorithm", "rollout"):
        assert named[group][:2] == [getattr(run.run, group).name, "(default)"]


def test_what_is_no_part_of_a_config_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in [
        (["--cfg", "jobs", "+grid=smoke"], "argument --cfg: invalid choice"),
        (["--cfg"], "argument --cfg: expected one argument"),
        (["--cfg", "job", "+grid=checkpoints"], "--cfg must be grid or all with +grid=checkpoints"),
        (["--cfg", "all"], "no grid is named"),
        (["--config-dir=nope", "--help"], "--config-dir must be a directory"),
    ]:
        assert sweep.main(words) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"subnetray: {sentence}")
        assert len(said.err.splitlines()) == 1
