"""Pairs of runs: who is compared with whom, against a plain enumeration."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pandas as pd
import pytest

from subnetray.analysis.intervals import pair_interval
from subnetray.analysis.pairs import SEED, around_baseline, factor_groups, group, label_pairs, seed_groups
from subnetray.config import Grid
from tests.analysis.tables import Run, make_grid, make_overlap, make_runs

SIZE = {("slow", "rl"): 100, ("slow", "copy"): 200, ("fast", "rl"): 400, ("fast", "copy"): 500, ("slow", "own"): 300}


def size(run: Run | pd.Series[Any]) -> int:
    """A mask's size; each cell and seed has its own."""
    return SIZE[run["rate"], run["way"]] + 10 * int(run["seed"]) + (run["limit"] == "no")


def counts(a: Run, b: Run) -> tuple[int, int, int, float]:
    k1, k2 = size(a), size(b)
    return k1, k2, min(k1, k2) // 2 + int(a["seed"]) + int(b["seed"]), min(k1, k2) / 3


@pytest.fixture
def sweep() -> tuple[Grid, pd.DataFrame, pd.DataFrame]:
    grid = make_grid()
    runs = make_runs(grid, lambda cell, seed: 0.5).sample(frac=1, random_state=0)  # finished in any order
    return grid, runs, label_pairs(grid, runs, make_overlap(runs, counts))


def test_every_pair_is_labelled_by_what_it_differs_in(sweep: tuple[Grid, pd.DataFrame, pd.DataFrame]) -> None:
    grid, runs, pairs = sweep
    known = runs.set_index("run_id")
    assert len(pairs) == math.comb(len(runs), 2)
    for _, pair in pairs.iterrows():
        a, b = known.loc[pair["run_a"]], known.loc[pair["run_b"]]
        assert pair["differs"] == "+".join(name for name in (*grid.factors, SEED) if a[name] != b[name])
        assert (pair["a.way"], pair["b.way"], pair["a.seed"]) == (a["way"], b["way"], a["seed"])
        # Whichever run came first in the table, the counts are those of the run named first.
        assert (pair["k1"], pair["k2"]) == (size(a), size(b))
        assert (pair["o1"], pair["o2"]) == (pair["k12"] / size(a), pair["k12"] / size(b))
        assert pair["ulp_o1"] == pytest.approx(pair["ulp_expected"] / size(a))


def test_runs_of_a_pair_are_in_the_order_of_levels_then_of_seeds(
    sweep: tuple[Grid, pd.DataFrame, pd.DataFrame],
) -> None:
    grid, _, pairs = sweep
    for _, pair in pairs.iterrows():
        first = pair["differs"].split("+")[0]
        order = list(grid.factors[first].levels) if first != SEED else grid.seeds
        assert order.index(pair[f"a.{first}"]) < order.index(pair[f"b.{first}"])


def test_groups_of_seeds_are_one_a_cell_with_the_baseline_first(
    sweep: tuple[Grid, pd.DataFrame, pd.DataFrame],
) -> None:
    grid, _, pairs = sweep
    groups = seed_groups(grid, pairs)
    assert [(each.context, each.pairs) for each in groups] == [
        ("", 3),
        ("rate=fast", 3),
        ("way=copy", 3),
        ("way=own", 3),
        ("limit=no", 3),
        ("rate=fast, way=copy", 3),
    ]
    expected = pair_interval([51 / 100, 52 / 100, 58 / 110], [(0, 1), (0, 2), (1, 2)])
    assert groups[0].o1.mean == pytest.approx(expected.mean)
    assert groups[0].o1.half_width == pytest.approx(expected.half_width)
    assert groups[0].nulls["uniform"].expected.mean == pytest.approx((0.11 + 0.12 + 0.12) / 3)
    assert groups[0].nulls["ulp"].expected.mean == pytest.approx(1 / 3)
    assert groups[0].strongest.excess.mean == pytest.approx(expected.mean - 1 / 3)
    assert groups[0].nulls["ulp"].odds_ratio.mean == pytest.approx(2.0)
    assert groups[0].strongest.odds_ratio.mean == pytest.approx(1.5)


def test_groups_of_a_factor_are_one_for_two_levels_in_a_context(
    sweep: tuple[Grid, pd.DataFrame, pd.DataFrame],
) -> None:
    grid, _, pairs = sweep
    found = [(each.level_a, each.level_b, each.context, each.pairs) for each in factor_groups(grid, pairs, "way")]
    assert found == [
        ("rl", "copy", "", 3),
        ("rl", "own", "", 3),
        ("copy", "own", "", 3),
        ("rl", "copy", "rate=fast", 3),
    ]


def test_groups_of_a_factor_and_the_seed_hold_every_two_seeds_in_both_orders(
    sweep: tuple[Grid, pd.DataFrame, pd.DataFrame],
) -> None:
    grid, _, pairs = sweep
    groups = factor_groups(grid, pairs, "limit", reseeded=True)
    assert [(each.differs, each.level_a, each.level_b, each.context) for each in groups] == [
        (("limit", SEED), "yes", "no", "")
    ]
    # Masks of 100 + 10 seed (+ 1 without the limit): o1 is (half the smaller one + both seeds) / the first one.
    units = [(a, b) for a in range(3) for b in range(3) if a != b]
    o1 = [(min(100 + 10 * a, 101 + 10 * b) // 2 + a + b) / (100 + 10 * a) for a, b in units]
    expected = pair_interval(o1, units)
    assert groups[0].pairs == 6
    assert groups[0].o1.mean == pytest.approx(expected.mean)
    assert groups[0].o1.half_width == pytest.approx(expected.half_width)
    # One seed alone has no such pair.
    alone = pairs[(pairs["a.seed"] == 0) & (pairs["b.seed"] == 0)]
    assert factor_groups(grid, alone, "limit", reseeded=True) == []


def test_around_the_baseline_one_of_the_two_runs_has_its_level(
    sweep: tuple[Grid, pd.DataFrame, pd.DataFrame],
) -> None:
    grid, runs, pairs = sweep
    known = runs.set_index("run_id")
    for differs in ((SEED,), ("way",), ("way", "rate"), ("limit", "way", SEED)):
        expected = set()
        for one, other in itertools.combinations(known.index, 2):
            a, b = known.loc[one], known.loc[other]
            distinct = {name for name in (*grid.factors, SEED) if a[name] != b[name]}
            bases = {name: factor.baseline for name, factor in grid.factors.items()}
            near = all(
                bases[name] in (a[name], b[name]) and (name in distinct or a[name] == bases[name]) for name in bases
            )
            if distinct == set(differs) and near:
                expected.add(frozenset((one, other)))
        selected = around_baseline(grid, pairs, *differs)
        assert {frozenset(pair) for pair in zip(selected["run_a"], selected["run_b"], strict=True)} == expected
        assert expected


def test_odds_ratios_of_full_masks_say_nothing() -> None:
    grid = make_grid()
    runs = make_runs(grid, lambda cell, seed: 0.5)
    overlap = make_overlap(runs, counts)
    overlap.loc[0, "ulp_odds_ratio"] = math.inf
    overlap.loc[0, "uniform_odds_ratio"] = 0.0
    each = group(grid, around_baseline(grid, label_pairs(grid, runs, overlap), SEED))
    assert math.isnan(each.nulls["ulp"].odds_ratio.mean)
    assert math.isnan(each.nulls["uniform"].odds_ratio.mean)


def test_pairs_of_runs_without_results_are_left_out() -> None:
    grid = make_grid()
    runs = make_runs(grid, lambda cell, seed: 0.5)
    overlap = make_overlap(runs, counts)
    runs.loc[runs["seed"] == 2, "status"] = "failed"
    pairs = label_pairs(grid, runs, overlap)
    assert set(pairs["a.seed"]) | set(pairs["b.seed"]) == {0, 1}
    assert math.isnan(seed_groups(grid, pairs)[0].o1.low)
    assert seed_groups(grid, label_pairs(grid, runs, overlap.head(0))) == []
