"""Which overrides a cell gets, in a world of two algorithms whose keys are known by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from subnetray.config import ConfigError, Factor, Grid
from subnetray.grid.settings import common_overrides, recipe_overrides, resolve

SHARED = {"algorithm.lr", "algorithm.steps", "task.max_left", "precision"}
OWN = {"grpo": {"algorithm.beta"}, "sft": {"algorithm.data"}}


def keys(choices: Sequence[str]) -> frozenset[str]:
    algorithm = "grpo"
    for choice in choices:
        group, name = choice.split("=")
        algorithm = name if group == "algorithm" else algorithm
    return frozenset(SHARED | OWN[algorithm])


def make(overrides: Sequence[str] = (), **levels: list[str]) -> Grid:
    factors = {
        "method": Factor(
            baseline="grpo", levels={"grpo": ["algorithm=grpo"], "sft": ["algorithm.data=x", "algorithm=sft"]}
        ),
        "rate": Factor(baseline="low", levels={"low": ["algorithm.lr=1"], "high": ["algorithm.lr=2"]}),
        "extra": Factor(baseline="none", levels={"none": [], **levels}),
    }
    return Grid(name="g", factors=factors, overrides=list(overrides))


def cell(method: str = "grpo", rate: str = "low", extra: str = "none") -> dict[str, str]:
    return {"method": method, "rate": rate, "extra": extra}


def resolved(grid: Grid, which: dict[str, str], *command_line: str) -> list[str]:
    return resolve(grid, [which], common_overrides(grid, command_line), keys)[0]


def test_choices_come_before_values() -> None:
    assert resolved(make(), cell("sft", "high")) == ["algorithm=sft", "algorithm.data=x", "algorithm.lr=2"]


def test_the_command_line_applies_to_every_cell() -> None:
    grid = make()
    for which in (cell(), cell("sft"), cell(rate="high")):
        assert set(resolved(grid, which, "algorithm.steps=5", "model=big")) == {
            *resolved(grid, which),
            "algorithm.steps=5",
            "model=big",
        }


def test_what_does_not_concern_a_run_reaches_no_cell() -> None:
    assert resolved(make(), cell(), "+grid=g", "grid.seeds=[1]", "cluster=gpu", "out=x", "dry_run=true") == resolved(
        make(), cell()
    )


def test_a_key_of_one_algorithm_goes_to_its_cells_only() -> None:
    grid = make()
    common = common_overrides(grid, ["algorithm.beta=3"])
    grpo, sft = resolve(grid, [cell(), cell("sft")], common, keys)
    assert "algorithm.beta=3" in grpo
    assert "algorithm.beta=3" not in sft


def test_a_key_that_no_cell_has_is_an_error() -> None:
    grid = make()
    with pytest.raises(ConfigError, match=r"^there is no config key algorithm\.beta in any cell .* data, lr, steps$"):
        resolve(grid, [cell("sft")], common_overrides(grid, ["algorithm.beta=3"]), keys)


def test_the_grid_s_own_overrides_yield_to_the_command_line() -> None:
    grid = make(["algorithm.steps=5", "task.max_left=9"])
    assert resolved(grid, cell()) == ["algorithm=grpo", "algorithm.steps=5", "task.max_left=9", "algorithm.lr=1"]
    assert "algorithm.steps=5" not in resolved(grid, cell(), "algorithm.steps=6")
    assert "algorithm.steps=6" in resolved(grid, cell(), "algorithm.steps=6")


@pytest.mark.parametrize("override", ["algorithm.lr=3", "algorithm.lr=1", "algorithm.data=x", "algorithm=sft"])
def test_setting_what_a_factor_varies_is_an_error(override: str) -> None:
    key = override.split("=")[0]
    factor = "rate" if key == "algorithm.lr" else "method"
    with pytest.raises(ConfigError, match=rf"^{key} is what the factor {factor} varies: .* not by {override}$"):
        common_overrides(make(), [override])
    with pytest.raises(ConfigError, match=rf"^{key} is what the factor {factor} varies"):
        common_overrides(make([override]), [])


def test_the_choice_of_the_baseline_may_be_repeated() -> None:
    assert resolved(make(), cell("sft"), "algorithm=grpo") == resolved(make(), cell("sft"))


def test_the_seed_is_the_grid_s() -> None:
    with pytest.raises(ConfigError, match=r"^seed is set by the grid: write grid\.seeds="):
        common_overrides(make(), ["seed=3"])


def test_levels_of_one_cell_must_not_disagree() -> None:
    grid = make(x=["algorithm.lr=2"])
    with pytest.raises(
        ConfigError, match=r"^algorithm\.lr is set to 1 and to 2 by rate=low and extra=x.*\(in the cell extra=x\)$"
    ):
        resolved(grid, cell(extra="x"))
    assert resolved(grid, cell(rate="high", extra="x")) == ["algorithm=grpo", "algorithm.lr=2"]


def test_a_level_that_contradicts_itself_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^precision is set to a and to b by extra=x: "):
        resolved(make(x=["precision=a", "precision=b"]), cell(extra="x"))


def test_a_level_needs_the_keys_that_it_sets() -> None:
    grid = make(x=["algorithm.beta=1"])
    assert "algorithm.beta=1" in resolved(grid, cell(extra="x"))
    with pytest.raises(
        ConfigError,
        match=r"^extra=x sets algorithm\.beta, a key that algorithm=sft does not have "
        r"\(in the cell method=sft, extra=x\)$",
    ):
        resolved(grid, cell("sft", extra="x"))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("junk", "'junk' is no override"),
        ("seed=1", "must not set seed"),
        ("cluster=gpu", "must set keys of a run .*, not cluster"),
        ("+algorithm.beta=1", "must set keys as key=value, not"),
        ("~algorithm.beta", "must set keys as key=value, not"),
    ],
)
def test_levels_and_the_grid_set_keys_of_a_run(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"^grid\.factors\.extra\.levels\.x:? {sentence}"):
        common_overrides(make(x=[override]), [])
    with pytest.raises(ConfigError, match=rf"^grid\.overrides:? {sentence}"):
        common_overrides(make([override]), [])


def cooked(grid: Grid, which: dict[str, str], texts: Sequence[str], *command_line: str) -> list[str]:
    return resolve(grid, [which], common_overrides(grid, command_line), keys, recipe_overrides("r", texts, keys))[0]


def test_a_recipe_holds_where_nothing_else_is_said() -> None:
    grid = make(["algorithm.steps=5"])
    recipe = ["model=big", "task.max_left=3", "precision=bf16", "algorithm.steps=9", "algorithm.lr=7"]
    # The grid's override and the level come before it, whatever is left holds; choices first.
    assert cooked(grid, cell(), recipe) == [
        *("model=big", "algorithm=grpo", "task.max_left=3", "precision=bf16", "algorithm.steps=5", "algorithm.lr=1")
    ]
    # So does the command line, its choices too.
    assert cooked(grid, cell(), recipe, "precision=fp32", "model=small") == [
        *("model=small", "algorithm=grpo", "task.max_left=3", "algorithm.steps=5", "precision=fp32", "algorithm.lr=1")
    ]


def test_what_a_recipe_says_of_an_algorithm_is_for_cells_that_have_it() -> None:
    recipe = ["algorithm=grpo", "algorithm.beta=0.04", "algorithm.steps=9", "precision=bf16"]
    assert cooked(make(), cell(), recipe) == [
        *("algorithm=grpo", "algorithm.beta=0.04", "algorithm.steps=9", "precision=bf16", "algorithm.lr=1")
    ]
    # Not even steps, which all algorithms have: they are those of another.
    assert cooked(make(), cell("sft"), recipe) == [
        *("algorithm=sft", "precision=bf16", "algorithm.data=x", "algorithm.lr=1")
    ]


def test_without_a_recipe_nothing_is_other_than_it_was() -> None:
    assert cooked(make(), cell("sft", "high"), []) == resolved(make(), cell("sft", "high"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("junk", "recipe=r: 'junk' is no override"),
        ("algorithm.foo=1", r"recipe=r: there is no config key algorithm\.foo"),
        ("algorithm.data=x", r"recipe=r: there is no config key algorithm\.data"),  # SFT's alone
        ("seed=1", "recipe=r must not set seed"),
        ("cluster=gpu", "recipe=r must set keys of a run .*, not cluster"),
        ("+algorithm.beta=1", "recipe=r must set keys as key=value, not"),
    ],
)
def test_a_recipe_sets_keys_of_a_run(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{sentence}"):
        recipe_overrides("r", [text], keys)
