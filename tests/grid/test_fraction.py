"""Fractions of crossings against their defining properties, and one sentence for each that is none."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subnetray.config import ConfigError, Factor, Grid
from subnetray.config.compose import Composer
from subnetray.grid import fraction, plan
from subnetray.grid.design import baseline, expand


def make(factors: int = 5, **changes: Any) -> Grid:
    """Two-level factors f0, f1, … crossed, the baseline of every second one its second level."""
    names = [f"f{i}" for i in range(factors)]
    made = {name: Factor(baseline="lh"[i % 2], levels={"l": [], "h": []}) for i, name in enumerate(names)}
    grid = Grid(name="g", factors=made, crossed=[{name: ["l", "h"] for name in names}], design="resolution_v")
    return dataclasses.replace(grid, **changes)


def signs(grid: Grid) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the design of a grid of one crossing: [cells, factors], +1 where a factor is at its level l."""
    return np.array([[1 if level == "l" else -1 for level in cell.values()] for cell in expand(grid)])


@settings(deadline=None, max_examples=14)
@given(st.integers(2, 8), st.sampled_from(sorted(fraction.RESOLUTIONS)))
def test_effects_up_to_the_resolution_are_orthogonal(factors: int, design: str) -> None:
    matrix = signs(make(factors, design=design))
    resolution = fraction.RESOLUTIONS[design]
    assert (np.abs(matrix.mean(axis=0)) < 1e-12).all()
    # A word of the defining relation is a product of columns that is constant: none is shorter than the resolution.
    for order in range(1, min(resolution, factors + 1)):
        for columns in itertools.combinations(range(factors), order):
            assert abs(matrix[:, columns].prod(axis=1).sum()) < len(matrix)


@pytest.mark.parametrize(
    ("factors", "design", "cells"),
    # Montgomery, Design and Analysis of Experiments, Table 8.14.
    [
        *((4, "resolution_iv", 8), (6, "resolution_iv", 16), (7, "resolution_iv", 16), (8, "resolution_iv", 16)),
        *((4, "resolution_v", 16), (5, "resolution_v", 16), (6, "resolution_v", 32), (8, "resolution_v", 64)),
    ],
)
def test_fractions_are_as_small_as_those_of_the_textbook(factors: int, design: str, cells: int) -> None:
    grid = make(factors, design=design)
    assert len(expand(grid)) == cells == fraction.size(grid, grid.crossed[0])


def test_the_baseline_is_a_cell_of_the_fraction() -> None:
    for factors in range(2, 9):
        grid = make(factors, design="resolution_iv")
        assert baseline(grid) in list(fraction.cells(grid, grid.crossed[0]))
        assert expand(grid)[0] == baseline(grid)


def test_resolution_v_aliases_no_two_interactions_and_resolution_iv_no_main_effect() -> None:
    five = make(6, design="resolution_v")
    assert fraction.aliases(five, five.crossed[0]) == []
    four = make(6, design="resolution_iv")
    groups = fraction.aliases(four, four.crossed[0])
    assert groups
    assert all(len(term) == 2 for group in groups for term in group)
    # What is called aliased is the same contrast in every cell, up to sign.
    matrix, names = signs(four), list(four.factors)
    for group in groups:
        contrasts = [matrix[:, [names.index(name) for name in term]].prod(axis=1) for term in group]
        assert all(abs(contrast @ contrasts[0]) == len(matrix) for contrast in contrasts)


def test_a_full_crossing_aliases_nothing() -> None:
    grid = make(3, design="full")
    assert fraction.aliases(grid, grid.crossed[0]) == []
    assert len(expand(grid)) == 8


def test_blocks_are_crossed_in_full_with_the_fraction() -> None:
    grid = make(5)
    grid.factors["init"] = Factor(baseline="0", levels={"0": [], "1": [], "2": []}, block=True)
    grid.crossed[0]["init"] = ["0", "1", "2"]
    cells = expand(grid)
    assert len(cells) == 16 * 3
    without = {tuple(level for name, level in cell.items() if name != "init") for cell in cells}
    assert len(without) == 16


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"design": "half"}, r"grid\.design must be one of full, resolution_iv, resolution_v, not 'half'"),
        (
            {"crossed": [{"f0": ["l", "h"], "f1": ["l"]}]},
            r"grid\.design=resolution_v needs two levels of each factor of a crossing, and grid\.crossed has 1 of f1",
        ),
        (
            {"crossed": [{"f0": ["l", "h"], "f1": ["l", "l"]}]},
            r"grid\.design=resolution_v needs two levels .* has 1 of f1",
        ),
        ({"interactions": [["f0", "nope"]]}, r"grid\.interactions names the factor nope, which grid\.factors lacks"),
        ({"interactions": [["f0"]]}, r"grid\.interactions must name two different factors in each entry"),
        ({"interactions": [["f0", "f0"]]}, r"grid\.interactions must name two different factors in each entry"),
        (
            {"interactions": [["f0", "f1"]], "crossed": [], "design": "full"},
            r"grid\.interactions asks for f0 × f1, which no entry of grid\.crossed crosses",
        ),
        (
            {"interactions": [["f0", "f1"]], "crossed": [{"f0": ["l"], "f1": ["l", "h"]}], "design": "full"},
            r"grid\.interactions asks for f0 × f1, and grid\.crossed has a single level of f0",
        ),
    ],
)
def test_a_fraction_that_is_none_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{sentence}") as caught:
        expand(make(**changes))
    assert "\n" not in str(caught.value)


def test_three_levels_cannot_be_fractioned() -> None:
    grid = make()
    grid.factors["f0"].levels["m"] = []
    grid.crossed[0]["f0"] = ["l", "m", "h"]
    with pytest.raises(ConfigError, match=r"needs two levels of each factor of a crossing, and grid\.crossed has 3 of"):
        expand(grid)


def test_an_aliased_interaction_that_is_asked_for_is_one_sentence() -> None:
    grid = make(6, design="resolution_iv")
    (one, other, *_) = fraction.aliases(grid, grid.crossed[0])[0]
    asked = dataclasses.replace(grid, interactions=[list(reversed(one))])
    with pytest.raises(ConfigError, match=r"^grid\.interactions asks for .*, which grid\.design=resolution_iv cannot"):
        expand(asked)
    assert fraction.in_words(other) == " × ".join(other)
    expand(dataclasses.replace(asked, design="resolution_v"))


def test_a_block_has_no_interaction_to_ask_for() -> None:
    grid = make(interactions=[["f0", "init"]])
    grid.factors["init"] = Factor(baseline="0", levels={"0": [], "1": []}, block=True)
    with pytest.raises(ConfigError, match=r"^grid\.interactions names init, whose levels are blocks"):
        expand(grid)


def test_the_factorial_grid_has_every_cell_once_and_data_of_the_distribution_that_it_names() -> None:
    _, planned = plan(Composer(), ["+grid=factorial"])
    assert len(planned.runs) == (12 + 8) * 2 * 3
    data = {
        (run.cell["method"], run.cell["distribution"]): getattr(run.config.algorithm, "data", "rollouts")
        for run in planned.runs
    }
    assert data == {
        ("grpo", "in"): "rollouts",
        ("sft", "in"): "rejection",
        ("sft", "off"): "gold",
        ("dpo", "in"): "on_policy",
        ("dpo", "off"): "off_policy",
    }
    assert {getattr(run.config.model, "pretrain_seed", None) for run in planned.runs} == {0, 1}


def test_the_screening_grid_is_a_sixteenth_or_a_half_of_its_combinations() -> None:
    _, four = plan(Composer(), ["+grid=screening", "grid.seeds=[0]"])
    _, five = plan(Composer(), ["+grid=screening", "grid.seeds=[0]", "grid.design=resolution_v"])
    assert (len(four.runs), len(five.runs)) == (16, 32)


def test_data_off_the_distribution_of_rollouts_do_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"^distribution=off sets algorithm\.data, a key that algorithm=grpo does"):
        plan(Composer(), ["+grid=factorial", "grid.one_at_a_time=[distribution]"])


@pytest.mark.parametrize(
    ("algorithm", "own", "general"),
    [
        ("sft", "gold", "off_distribution"),
        ("sft", "rejection", "in_distribution"),
        ("kto", "off_policy", "off_distribution"),
    ],
)
def test_a_run_is_the_same_whichever_way_its_data_are_named(algorithm: str, own: str, general: str) -> None:
    ids = [
        plan(Composer(), ["+grid=single", f"algorithm={algorithm}", f"algorithm.data={data}"])[1].runs[0].run_id
        for data in (own, general)
    ]
    assert ids[0] == ids[1]
