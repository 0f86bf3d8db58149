"""Grids with another model or task than they were written for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from subnetray.config import ConfigError, EmbeddedModel, ReasoningGymTask, SmolLM2Model
from subnetray.config.compose import Composer
from subnetray.grid import Plan, plan

GRIDS = [name for name in Composer().choices("grid") if name != "checkpoints"]
REAL = ["model=smollm2_135m", "task=reasoning_gym"]


@cache
def _plan(grid: str, *words: str) -> Plan:
    return plan(Composer(), [f"+grid={grid}", *words])[1]


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_takes_a_pretrained_model_and_another_task(grid: str) -> None:
    planned = _plan(grid, *REAL)
    assert planned.runs
    for run in planned.runs:
        assert isinstance(run.config.model, SmolLM2Model)
        assert isinstance(run.config.task, ReasoningGymTask)
    assert [run.cell for run in planned.runs] == [run.cell for run in _plan.__wrapped__(grid, *REAL).runs]


@pytest.mark.parametrize("grid", GRIDS)
def test_nothing_is_left_out_where_nothing_else_is_chosen(grid: str) -> None:
    assert _plan(grid).left_out == ()


def test_what_is_left_out_is_said_and_the_rest_is_as_it_was() -> None:
    whole, fitted = _plan("origins"), _plan("origins", *REAL)
    assert fitted.left_out == (
        "the factor init is left out: model=smollm2_135m has no model.sft_steps",
        "the factor data is left out: it has task=arithmetic, and task=reasoning_gym is chosen",
    )
    left = {name: factor for name, factor in whole.grid.factors.items() if name not in ("init", "data")}
    assert fitted.grid.factors == left
    kept = [run for run in whole.runs if (run.cell["init"], run.cell["data"]) == ("base", "arithmetic")]
    assert [{name: run.cell[name] for name in left} for run in kept] == [run.cell for run in fitted.runs]


def test_blocks_and_crossings_go_with_their_factor() -> None:
    fitted = _plan("factorial", *REAL)
    assert fitted.left_out == ("the factor init is left out: model=smollm2_135m has no model.pretrain_seed",)
    assert all("init" not in crossing for crossing in fitted.grid.crossed)
    assert len(fitted.runs) * 2 == len(_plan("factorial").runs)


def test_of_several_levels_those_stay_that_can_be() -> None:
    words = [
        "+grid.factors.init.levels.decayed=[algorithm.weight_decay=0.1]",
        "grid.one_at_a_time=[init]",
        "grid.crossed=[]",
    ]
    fitted = _plan("origins", "model=smollm2_135m", *words)
    assert fitted.left_out == ("init=after_sft is left out: model=smollm2_135m has no model.sft_steps",)
    assert [run.cell["init"] for run in fitted.runs] == ["base"] * 3 + ["decayed"] * 3


def test_a_choice_that_is_the_baselines_leaves_its_factor_alone() -> None:
    assert _plan("origins", "task=arithmetic").left_out == ()
    assert len(_plan("origins", "task=arithmetic").runs) == len(_plan("origins").runs)


def test_a_recipe_chooses_where_no_level_does() -> None:
    """Levels come before a recipe: the factor of data sets stays, and so do its levels."""
    fitted = _plan("origins", "+recipe=smollm2_chain_sum", "rollout.max_new_tokens=12")
    assert fitted.left_out == ("the factor init is left out: model=smollm2_135m has no model.sft_steps",)
    assert {run.config.model.name for run in fitted.runs} == {"smollm2_135m"}
    assert {run.config.task.name for run in fitted.runs} == {"arithmetic", "multiplication"}


def test_what_the_grid_says_of_another_task_is_left_out() -> None:
    fitted = _plan("smoke", "task=reasoning_gym", "model=smollm2_135m", "grid.overrides=[task.max_left=9]")
    assert "task.max_left=9 of the grid is left out: task=reasoning_gym has no task.max_left" in fitted.left_out


def test_the_embedded_model_on_the_pretrained_grid() -> None:
    fitted = _plan("pretrained", "model=tiny", "task=arithmetic")
    assert all(isinstance(run.config.model, EmbeddedModel) for run in fitted.runs)
    assert "task.generator=chain_sum of the grid is left out: task=arithmetic has no task.generator" in fitted.left_out


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """Data with an answer to each prompt, and nothing worse beside it."""
    (tmp_path / "sums.jsonl").write_text("".join(f'{{"prompt": "{n}+1=", "gold": "{n + 1}"}}\n' for n in range(99)))
    return ["task=jsonl", f"task.path={tmp_path / 'sums.jsonl'}", "task.gold=gold", "task.reward=number"]


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_takes_data_of_ones_own(grid: str, own: list[str]) -> None:
    for words in (own, [word.replace("gold=", "reference=") for word in own]):  # without gold completions, too
        planned = _plan(grid, *words, "model=smollm2_135m")
        whole = _plan(grid)
        assert planned.runs
        assert {run.config.task.name for run in planned.runs} == {"jsonl"}
        assert planned.grid.factors.keys() <= whole.grid.factors.keys()
        assert bool(planned.left_out) == (planned.grid.factors != whole.grid.factors)


def test_levels_whose_training_data_a_task_lacks_are_left_out(own: list[str]) -> None:
    # A key of one algorithm is no key of every cell that is looked at.
    fitted = _plan("origins", *own, "algorithm.group_size=4")
    assert "dpo_off_policy" not in fitted.grid.factors["method"].levels
    (sentence,) = [each for each in fitted.left_out if each.startswith("method=")]
    assert sentence.startswith(
        "method=dpo_off_policy is left out: algorithm=dpo algorithm.data=off_policy needs pairs of"
    )
    assert "dpo_off_policy" not in {run.cell["method"] for run in fitted.runs}


@pytest.mark.parametrize("grid", ["factorial", "screening"])
def test_where_two_levels_together_lack_data_the_one_that_chooses_them_goes(grid: str, own: list[str]) -> None:
    fitted = _plan(grid, *own)
    (sentence,) = fitted.left_out
    assert sentence.startswith("distribution=off is left out: with method=dpo, algorithm=dpo algorithm.data=off_policy")
    assert "distribution" not in fitted.grid.factors
    # What the baseline says of it holds all the same: SFT trains on its own samples, not on gold.
    assert {run.config.algorithm.data for run in fitted.runs if run.cell["method"] == "sft"} == {"rejection"}
    assert {run.config.algorithm.data for run in fitted.runs if run.cell["method"] == "dpo"} == {"on_policy"}
    assert all("distribution" not in pair for pair in fitted.grid.interactions)


def test_a_source_without_training_data_takes_its_arm_with_it(own: list[str]) -> None:
    fitted = _plan("transfer", *[word.replace("gold=", "reference=") for word in own], "model=smollm2_135m")
    assert [each.partition(" is left out")[0] for each in fitted.left_out] == ["method=sft", "mask=of_sft"]
    assert {run.cell["mask"] for run in fitted.runs} == {"full", "of_grpo", "of_ppo", "of_dpo", "random"}


def test_a_level_that_is_the_baseline_with_the_chosen_model_is_left_out() -> None:
    fitted = _plan("origins", "model=tiny_sft")
    assert fitted.left_out == ("init=after_sft is left out: with model=tiny_sft it is the baseline",)
    with pytest.raises(ConfigError, match="the cells baseline and method=sft_gold are the same run"):
        _plan("smoke", "model=tiny", "grid.factors.method.levels.sft_gold=['algorithm=grpo']")


def test_what_else_a_lost_factor_has_at_its_baseline_holds_everywhere() -> None:
    words = ["grid.factors.data.levels.arithmetic=['task=arithmetic','evaluation.prompts=77']"]
    fitted = _plan("origins", "task=multiplication", *words)
    assert fitted.left_out == (
        "the factor data is left out: it has task=arithmetic, and task=multiplication is chosen",
    )
    assert {run.config.evaluation.prompts for run in fitted.runs} == {77}


def test_a_crossing_of_nothing_is_refused_whatever_is_chosen() -> None:
    for chosen in ([], REAL):
        with pytest.raises(ConfigError, match=r"^grid\.crossed must name at least one level of method"):
            _plan("smoke", *chosen, "grid.crossed=[{method:[]}]")


def test_a_baseline_whose_training_data_a_task_lacks_is_refused(own: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^algorithm=grpo needs a reward for completions of the policy"):
        _plan("origins", *own[:-1])
