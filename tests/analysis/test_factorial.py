"""Mixed models against the analysis of variance with blocks, fractions and partial η² against their definitions."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from subnetray.analysis.factorial import Cell, Effect, Fit, Observation, fit, partial_eta

LEVELS = {"way": ("rl", "copy", "own"), "rate": ("slow", "fast"), "bits": ("few", "many")}
CELLS = list(itertools.product(*LEVELS.values()))


def observations(
    truth: Callable[[Cell], float], cells: Sequence[Cell] = CELLS, inits: int = 2, seeds: int = 3, noise: float = 0.1
) -> list[Observation]:
    rng = np.random.default_rng(7)
    of_init, of_block = rng.normal(0, 1, inits), rng.normal(0, 0.5, (inits, seeds))
    return [
        Observation(cell, seed, (str(init),), truth(cell) + of_init[init] + of_block[init, seed] + rng.normal(0, noise))
        for cell, init, seed in itertools.product(cells, range(inits), range(seeds))
    ]


def moved(cell: Cell) -> float:
    """Main effects of way and rate, and an interaction of the two."""
    way, rate, _ = cell
    return {"rl": -0.5, "copy": 0.5, "own": 0.0}[way] + (rate == "fast") * (1.0 if way == "copy" else 0.5)


def effect(found: Fit, *term: str) -> Effect:
    return next(each for each in found.effects if term in each.terms)


def test_a_balanced_crossing_has_the_f_of_the_analysis_of_variance_with_blocks() -> None:
    runs = observations(moved)
    found = fit(LEVELS, CELLS, runs)
    table = np.array([run.value for run in runs]).reshape(3, 2, 2, 6)  # cells, and blocks last
    mean = table.mean()
    residual = table - table.mean(axis=3, keepdims=True) - table.mean(axis=(0, 1, 2)) + mean
    error = (residual**2).sum() / (11 * 5)
    assert (found.error_df, found.runs, found.blocks) == (55, 72, 6)
    assert found.run_sd**2 == pytest.approx(error, rel=1e-3)
    way, rate = (table.mean(axis=axes, keepdims=True) for axes in ((1, 2, 3), (0, 2, 3)))
    squares = {
        ("way",): (24 * ((way - mean) ** 2).sum(), 2),
        ("rate",): (36 * ((rate - mean) ** 2).sum(), 1),
        ("way", "rate"): (12 * ((table.mean(axis=(2, 3), keepdims=True) - way - rate + mean) ** 2).sum(), 2),
    }
    for term, (ss, df) in squares.items():
        one = effect(found, *term)
        assert one.df == df
        assert one.f == pytest.approx(ss / df / error, rel=1e-3)
        assert one.p == pytest.approx(stats.f.sf(one.f, df, 55), rel=1e-6, abs=1e-300)
        assert one.partial_eta.mean == pytest.approx(ss / (ss + 55 * error), rel=1e-3)
    assert sum(each.df for each in found.effects) == len(CELLS) - 1
    assert effect(found, "way", "rate").p_holm < 0.001
    assert effect(found, "rate", "bits").p > 0.01
    assert 0.1 < found.seed_sd < 1.5


def test_effects_do_not_depend_on_what_a_whole_block_has_more() -> None:
    runs = observations(moved)
    shifted = [Observation(r.cell, r.seed, r.init, r.value + 3 * r.seed + 5 * int(r.init[0])) for r in runs]
    one, other = fit(LEVELS, CELLS, runs), fit(LEVELS, CELLS, shifted)
    for a, b in zip(one.effects, other.effects, strict=True):
        assert a.f == pytest.approx(b.f, rel=2e-3)


def test_runs_that_failed_leave_the_rest_to_tell() -> None:
    runs = [run for index, run in enumerate(observations(moved)) if index not in (3, 40)]
    found = fit(LEVELS, CELLS, runs)
    assert found.error_df == 53
    assert effect(found, "way", "rate").p_holm < 0.001
    assert effect(found, "bits").p > 0.01


def test_seeds_of_one_init_are_the_blocks_where_there_is_no_other() -> None:
    found = fit(LEVELS, CELLS, observations(moved, inits=1, seeds=4))
    assert (found.blocks, found.error_df, math.isnan(found.init_sd)) == (4, 33, True)
    assert effect(found, "way", "rate").p_holm < 0.001


def test_a_fraction_finds_an_effect_under_every_name_that_it_confounds_it_with() -> None:
    levels = dict.fromkeys("abcd", ("0", "1"))
    # The half with an even number of ones: abcd = 1, so that ab is cd.
    cells = [cell for cell in itertools.product("01", repeat=4) if cell.count("1") % 2 == 0]
    groups = [(("a", "b"), ("c", "d")), (("a", "c"), ("b", "d")), (("a", "d"), ("b", "c"))]
    runs = observations(lambda cell: 1.0 * (cell[2] == cell[3]) + 0.5 * (cell[0] == "1"), cells, 1, 3)
    found = fit(levels, cells, runs, groups)
    assert [each.terms for each in found.effects] == [(("a",),), (("b",),), (("c",),), (("d",),), *groups]
    assert [each.p_holm < 0.01 for each in found.effects] == [True, False, False, False, True, False, False]


def test_what_cannot_be_fitted_is_one_sentence() -> None:
    runs = observations(moved)
    with pytest.raises(ValueError, match=r"^1 of 12 cells have no value$"):
        fit(LEVELS, CELLS, [run for run in runs if run.cell != CELLS[0]])
    with pytest.raises(ValueError, match=r"^fewer than two seeds have finished$"):
        fit(LEVELS, CELLS, observations(moved, inits=1, seeds=1))
    with pytest.raises(ValueError, match=r"^runs of one cell do not differ$"):
        fit(LEVELS, CELLS, [Observation(run.cell, run.seed, (), moved(run.cell)) for run in runs])


@pytest.mark.parametrize(("f", "df", "error_df"), [(0.3, 2, 55), (2.0, 1, 10), (30.0, 2, 55), (2300.0, 2, 55)])
def test_the_ends_of_partial_eta_are_where_the_statistic_has_its_tails(f: float, df: int, error_df: int) -> None:
    found = partial_eta(f, df, error_df)
    n = df + error_df + 1
    assert found.mean == pytest.approx(f * df / (f * df + error_df))
    for end, probability in ((found.low, 0.975), (found.high, 0.025)):
        noncentrality = end / (1 - end) * n
        if end > 0:
            assert stats.ncf.cdf(f, df, error_df, noncentrality) == pytest.approx(probability, abs=1e-6)
        else:
            assert stats.f.cdf(f, df, error_df) <= probability
    assert found.low <= found.high <= 1


def test_what_takes_seconds_to_import_is_imported_where_it_is_used() -> None:
    code = (
        "import sys, subnetray.analysis.claims, subnetray.grid, subnetray.reporting.interactions;"
        "print(sorted({'statsmodels', 'scipy.stats', 'scipy.optimize', 'pydoe'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
