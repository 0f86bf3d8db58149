"""Interactions in made-up sweeps whose truth is known: overlaps as values of runs, models of crossings, claims."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.analysis.claims import interactions
from subnetray.analysis.claims.interactions import DENSITY_RESPONSE, OVERLAP_RESPONSE, pseudo_values
from subnetray.analysis.pairs import label_pairs
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim
from subnetray.config import Grid
from subnetray.config.compose import Composer
from subnetray.grid import plan
from tests.analysis.tables import Cell, Run, make_overlap, make_runs

FACTORIAL = plan(Composer(), ["+grid=factorial"])[1].grid
KEY = "effect_of_method_does_not_depend_on_learning_rate"


def odds(apart: float, noise: float = 0.02) -> Callable[[Cell, int], float]:
    """Density in which a tenfold rate adds ``apart`` more to the log odds of SFT than to those of the others."""
    rng = np.random.default_rng(3)

    def density(cell: Cell, seed: int) -> float:
        fast = cell["learning_rate"] == "1e-5"
        total = -1 + 0.8 * fast + 0.4 * (cell["method"] == "sft") + apart * (fast and cell["method"] == "sft")
        total += 0.1 * seed + 0.3 * (cell["init"] == "1") + rng.normal(0, noise)
        return 1 / (1 + math.exp(-total))

    return density


def judged(density: Callable[[Cell, int], float], grid: Grid = FACTORIAL, gap: float = 2.0) -> dict[str, Claim]:
    runs = make_runs(
        grid,
        density,
        n=lambda cell, seed: 10**6,
        data_nll=lambda cell, seed: 0.25 + gap * (cell.get("distribution") == "off"),
    )
    return {claim.key: claim for claim in interactions.claims(Results(grid, runs))}


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6))
def test_pseudo_values_of_sums_are_twice_what_each_unit_brings(brought: list[float]) -> None:
    units = {f"r{i}": value for i, value in enumerate(brought)}
    pairs = [(a, b, units[a] + units[b]) for a, b in itertools.combinations(units, 2)]
    found = pseudo_values(pairs)
    assert found == pytest.approx({unit: 2 * value for unit, value in units.items()}, abs=1e-9)


def test_two_runs_make_one_pair_of_which_neither_s_part_is_known() -> None:
    assert pseudo_values([("a", "b", 0.5)]) == {}


def test_an_interaction_within_the_margin_is_none_and_one_beyond_it_is_one() -> None:
    same, apart = judged(odds(0.0))[KEY], judged(odds(1.0))[KEY]
    assert (same.verdict, apart.verdict) == ("supported", "refuted")
    assert apart.estimate.mean == pytest.approx(1.0, abs=0.1)
    assert apart.note.startswith("sft minus grpo, at 1e-5 minus at 1e-6; 6 blocks, of 2 inits")
    assert same.estimate.n == 6
    assert len(apart.runs) == 12 * 6
    assert judged(odds(math.log(1.5), 0.3))[KEY].verdict == "inconclusive"


def test_data_that_are_not_off_the_distribution_test_nothing_of_it() -> None:
    far, near = judged(odds(0.0)), judged(odds(0.0), gap=0.5)
    key = "effect_of_distribution_does_not_depend_on_learning_rate"
    assert far[key].verdict == "supported"
    assert near[key].verdict == "not tested"
    assert (
        near[key].note == "sft: the NLL of its off-distribution data, above that of the others, is +0.50 nats a token"
    )
    assert near[KEY].verdict == "supported"


def test_updates_that_are_full_leave_no_room_for_interactions() -> None:
    full = judged(lambda cell, seed: 0.999 if cell["learning_rate"] == "1e-5" else 0.5)[KEY]
    assert full.verdict == "not tested"
    assert "change almost all weights, or almost none" in full.note


def test_a_grid_that_crosses_nothing_tests_no_interaction() -> None:
    grid = plan(Composer(), ["+grid=origins", "grid.crossed=[]"])[1].grid
    found = judged(lambda cell, seed: 0.5, grid)
    assert {claim.verdict for claim in found.values()} == {"not tested"}
    assert found[KEY].note == "the grid does not cross the algorithm with the learning rate"
    assert found[KEY].grid == "factorial"


def test_a_fraction_tests_the_interactions_that_it_does_not_confound() -> None:
    four = plan(Composer(), ["+grid=screening"])[1].grid
    five = plan(Composer(), ["+grid=screening", "grid.design=resolution_v"])[1].grid

    def density(cell: Cell, seed: int) -> float:
        return 0.3 + 0.2 * (cell["method"] == "dpo") + 0.01 * seed

    assert judged(density, four)[KEY].note == "the grid does not cross the algorithm with the learning rate"
    assert judged(density, five)[KEY].verdict == "supported"


def test_models_find_the_interaction_that_is_there_in_density_and_in_overlap() -> None:
    runs = make_runs(FACTORIAL, odds(0.5), n=lambda cell, seed: 10**6)
    rng = np.random.default_rng(5)

    def count(a: Run, b: Run) -> tuple[int, int, int, float]:
        more = 60 * (a["method"] == "sft" and a["dtype"] == "bf16")
        return 500, 500, 300 + more + int(rng.normal(0, 6)), 280.0

    pairs = label_pairs(FACTORIAL, runs, make_overlap(runs, count))
    found = interactions.models(Results(FACTORIAL, runs, pairs))
    assert [(each.response, len(each.factors)) for each in found] == [
        *((DENSITY_RESPONSE, 3), (OVERLAP_RESPONSE, 3)),
        *((DENSITY_RESPONSE, 4), (OVERLAP_RESPONSE, 4)),
    ]
    seen = {
        (each.response, effect.terms[0])
        for each in found[:2]
        if each.fit is not None
        for effect in each.fit.effects
        if len(effect.terms[0]) == 2 and effect.p_holm < 0.01
    }
    assert seen == {(DENSITY_RESPONSE, ("method", "learning_rate")), (OVERLAP_RESPONSE, ("method", "dtype"))}
