"""Effects of a made-up sweep against what was put in."""

from __future__ import annotations

import math

import pytest

from subnetray.analysis.effects import cell, crossings, origins, paired_difference, ranges, spreads
from subnetray.analysis.intervals import t_interval
from subnetray.analysis.results import Results
from tests.analysis.tables import Cell, make_grid, make_runs

BASE = {"slow": 0.1, "fast": 0.6}
WAY = {"rl": 0.0, "copy": 0.2, "own": 0.05}


def density(cell: Cell, seed: int) -> float:
    """Additive effects, a seed effect of 0.01 a seed, and none of clipping."""
    return BASE[cell["rate"]] + WAY[cell["way"]] + 0.01 * seed


def test_origins_are_the_levels_of_each_factor_around_the_baseline() -> None:
    grid = make_grid()
    rows = origins(Results(grid, make_runs(grid, density, accuracy=lambda cell, seed: 0.75)))
    assert [(row.factor, row.level, row.is_baseline) for row in rows] == [
        ("rate", "slow", True),
        ("rate", "fast", False),
        ("way", "rl", True),
        ("way", "copy", False),
        ("way", "own", False),
        ("limit", "yes", True),
        ("limit", "no", False),
    ]
    fast = rows[1]
    assert fast.cell.n == 3
    assert fast.cell.density == t_interval([0.6, 0.61, 0.62])
    assert fast.cell.tolerant_density.mean == pytest.approx(0.305)
    assert fast.cell.greedy_change.mean == pytest.approx(0.25)
    assert fast.cell.nll.mean == 0.25
    # The seed's effect cancels in differences that are paired by seed.
    assert fast.difference.mean == pytest.approx(0.5)
    assert fast.difference.half_width == pytest.approx(0, abs=1e-12)


def test_ranges_are_ordered_and_leave_out_what_has_one_level() -> None:
    grid = make_grid()
    runs = make_runs(grid, density)
    widths = ranges(origins(Results(grid, runs)))
    assert list(widths) == ["rate", "way", "limit"]
    assert list(widths.values()) == pytest.approx([0.5, 0.2, 0.0])
    assert list(ranges(origins(Results(grid, runs[runs["rate"] == "slow"])))) == ["way", "limit"]


def test_crossings_hold_every_combination_and_their_spreads() -> None:
    grid = make_grid()
    (crossed,) = crossings(Results(grid, make_runs(grid, density)))
    assert (crossed.rows, crossed.columns) == ("way", "rate")
    assert {key: each.density.mean for key, each in crossed.cells.items()} == pytest.approx(
        {("rl", "slow"): 0.11, ("rl", "fast"): 0.61, ("copy", "slow"): 0.31, ("copy", "fast"): 0.81}
    )
    over_rates, over_ways = spreads(crossed)
    assert over_rates == pytest.approx([0.5, 0.5])
    assert over_ways == pytest.approx([0.2, 0.2])


def test_failed_runs_and_missing_cells_do_not_count() -> None:
    grid = make_grid()
    runs = make_runs(grid, density)
    runs.loc[(runs["rate"] == "fast") & (runs["seed"] == 2), "status"] = "failed"
    runs = runs[runs["way"] != "copy"]
    assert cell(Results(grid, runs), {"rate": "fast"}).density == t_interval([0.6, 0.61])
    assert cell(Results(grid, runs), {"way": "copy"}).n == 0
    (crossed,) = crossings(Results(grid, runs))
    over_rates, over_ways = spreads(crossed)
    assert over_rates[0] == pytest.approx(0.495)
    assert all(map(math.isnan, [over_rates[1], *over_ways]))
    assert paired_difference(Results(grid, runs), {"rate": "fast"}, {}) == pytest.approx({0: 0.5, 1: 0.5})


def test_three_crossed_factors_give_a_table_for_every_two() -> None:
    everything = {"way": ["rl", "copy"], "rate": ["slow", "fast"], "limit": ["yes", "no"]}
    grid = make_grid(crossed=[everything])
    tables = [(each.rows, each.columns) for each in crossings(Results(grid, make_runs(grid, density)))]
    assert tables == [("way", "rate"), ("way", "limit"), ("rate", "limit")]
