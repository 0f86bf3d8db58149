"""The design's semantics against a reference by enumeration, and one sentence for every grid that is none."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.config import ConfigError, Factor, Grid
from subnetray.grid.design import baseline, describe, expand
from subnetray.store.columns import RESERVED

LEVELS = ("a", "b", "c")


def factor(baseline: str = "a", levels: tuple[str, ...] = LEVELS) -> Factor:
    return Factor(baseline=baseline, levels={level: [] for level in levels})


def make(**changes: Any) -> Grid:
    grid = Grid(name="g", factors={"one": factor(), "two": factor(), "three": factor("b")})
    return dataclasses.replace(grid, **changes)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    names = draw(st.lists(st.sampled_from(["u", "v", "w", "x"]), min_size=1, unique=True))
    factors = {}
    for name in names:
        levels = draw(st.lists(st.sampled_from(LEVELS), min_size=1, unique=True))
        factors[name] = factor(draw(st.sampled_from(levels)), tuple(levels))
    crossing = st.lists(st.sampled_from(names), min_size=1, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {name: st.lists(st.sampled_from(list(factors[name].levels)), min_size=1, unique=True) for name in chosen}
        )
    )
    return Grid(
        name="g",
        factors=factors,
        one_at_a_time=draw(st.lists(st.sampled_from(names), unique=True)),
        crossed=draw(st.lists(crossing, max_size=2)),
    )


@given(grids())
def test_a_combination_is_a_cell_if_and_only_if_the_design_says_so(grid: Grid) -> None:
    base = baseline(grid)

    def belongs(cell: dict[str, str]) -> bool:
        varied = {name for name in cell if cell[name] != base[name]}
        one = len(varied) == 1 and next(iter(varied)) in grid.one_at_a_time
        crossed = any(
            varied <= set(crossing) and all(cell[name] in levels for name, levels in crossing.items())
            for crossing in grid.crossed
        )
        return not varied or one or crossed

    every = (
        dict(zip(grid.factors, levels, strict=True))
        for levels in itertools.product(*(factor.levels for factor in grid.factors.values()))
    )
    cells = expand(grid)
    assert cells[0] == base
    assert sorted(map(str, cells)) == sorted(str(cell) for cell in every if belongs(cell))


def test_the_number_of_cells_of_disjoint_parts_adds_up() -> None:
    grid = make(one_at_a_time=["one"], crossed=[{"two": ["b", "c"], "three": ["a", "c"]}])
    assert len(expand(grid)) == 1 + 2 + 4


def test_a_full_crossing_has_the_product_of_levels() -> None:
    cells = expand(make(crossed=[{name: list(LEVELS) for name in ("one", "two", "three")}]))
    assert len(cells) == math.prod([3, 3, 3])


def test_order_is_the_design_s_own() -> None:
    cells = expand(make(one_at_a_time=["two", "one"]))
    assert [describe(make(), cell) for cell in cells] == ["baseline", "two=b", "two=c", "one=b", "one=c"]


def test_a_cell_is_described_by_what_it_varies() -> None:
    assert describe(make(), {"one": "a", "two": "c", "three": "a"}) == "two=c, three=a"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": []}, "grid.seeds must name at least one seed"),
        ({"seeds": [0, 1, 0]}, "grid.seeds must name each seed once, and names 0"),
        ({"seeds": [-1]}, "grid.seeds must be whole numbers from 0"),
        ({"seeds": [2**31]}, "grid.seeds must be whole numbers from 0"),
        ({"name": ""}, "grid.name must be a name"),
        ({"name": "../up"}, "grid.name must be a name"),
        ({"one_at_a_time": ["four"]}, "grid.one_at_a_time names the factor four"),
        ({"crossed": [{"four": ["a"]}]}, "grid.crossed names the factor four"),
        ({"crossed": [{"one": ["z"]}]}, "grid.crossed: one has no level 'z'"),
        ({"crossed": [{"one": []}]}, "grid.crossed must name at least one level of one"),
        ({"crossed": [{}]}, "grid.crossed must name at least one factor"),
        ({"factors": {"one": factor("z")}}, "grid.factors.one.baseline must be one of a, b, c, not 'z'"),
        ({"factors": {"one": Factor(baseline="a")}}, "grid.factors.one.levels must name at least one level"),
        ({"factors": {"a b": factor()}}, "grid.factors.a b: a factor's name must be letters"),
        ({"factors": {"density_1e": factor()}}, "grid.factors.density_1e: a factor must not be called"),
    ],
)
def test_a_grid_that_is_no_design_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{sentence.replace('.', '[.]')}") as caught:
        expand(make(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(name for name in RESERVED if name.isidentifier()))
def test_no_factor_takes_the_name_of_another_column(name: str) -> None:
    with pytest.raises(ConfigError, match=f"must not be called {name},"):
        expand(make(factors={name: factor()}))
