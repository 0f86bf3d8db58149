"""The arms of made-up sweeps in which the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from subnetray.analysis import roles
from subnetray.analysis.claims.conjecture import arms, claims
from subnetray.analysis.pairs import label_pairs
from subnetray.analysis.results import Results
from subnetray.analysis.verdicts import Claim
from subnetray.config import Factor, Grid
from tests.analysis.tables import Cell, make_grid, make_overlap, make_runs, run_id

ACCURACY, RANDOM, NEARER, VALUES = (
    *("subnetwork_reaches_full_accuracy", "subnetwork_beats_random"),
    *("subnetwork_ends_nearer_than_another_seed", "subnetwork_gives_the_same_values"),
)
LEVELS = {
    "all": [],
    "own": ["subnetwork.mask=oracle"],
    "drawn": ["subnetwork.mask=random"],
    "soon": ["subnetwork.mask=early_update", "subnetwork.at=5"],
    "borrowed": ["subnetwork.mask=oracle", "subnetwork.source=[algorithm=dpo]"],
    "seeded": ["subnetwork.mask=oracle", "subnetwork.source_seed=1"],
}
WAY = Factor("the algorithm", "rl", {"rl": ["algorithm=grpo"], "copy": ["algorithm=sft", "algorithm.data=gold"]})


def grid_of(seeds: tuple[int, ...] = (0, 1, 2, 3), **levels: list[str]) -> Grid:
    factors = {"part": Factor("what is trained", "all", levels or LEVELS), "way": WAY}
    crossed = [{"way": list(WAY.levels), "part": list(factors["part"].levels)}]
    return make_grid(seeds, factors=factors, one_at_a_time=[], crossed=crossed)


def wobble(seed: int) -> float:
    return 0.001 * (-1) ** seed


def accuracy(**gains: float) -> Callable[[Cell, int], float]:
    """After training from 0.5; every level wobbles by seed in its own way."""
    return lambda cell, seed: 0.5 + gains.get(cell["part"], 0.1) + wobble(seed) * (1 + len(cell["part"]))


def table(
    grid: Grid,
    after: Callable[[Cell, int], float],
    distance: float = 0.6,
    equal: float = 0.9,
    bound: float = 0.2,
) -> Results:
    def of_arms(value: float) -> Callable[[Cell, int], float]:
        return lambda cell, seed: math.nan if cell["part"] == "all" else value + wobble(seed)

    columns: dict[str, Any] = {
        "budget": of_arms(0.4),
        "distance_to_source": of_arms(distance),
        "equal_1e-05": of_arms(equal),
        "equal_0.0001": of_arms(0.99),
        "bound_1e-05": of_arms(bound),
        "bound_0.0001": of_arms(0.8),
    }
    runs = make_runs(grid, lambda cell, seed: 0.4, after, **columns)
    return Results(grid, runs, label_pairs(grid, runs, make_overlap(runs, lambda a, b: (400, 400, 300, 250.0))))


def judge(grid: Grid, *args: Any, **kwargs: Any) -> dict[str, Claim]:
    return {claim.key: claim for claim in claims(table(grid, *args, **kwargs))}


def test_kinds_of_arms() -> None:
    grid = grid_of()
    assert roles.factor_with(grid, roles.ARM) == "part"
    assert [roles.kind(grid, "part", level) for level in LEVELS] == [
        *("full", "oracle", "random", "early_update@5", "oracle of [algorithm=dpo]", "oracle +1")
    ]


def test_every_arm_beside_the_full_runs_of_its_context() -> None:
    grid = grid_of()
    found = arms(table(grid, accuracy(all=0.2, own=0.15)))
    assert [(arm.context, arm.level) for arm in found] == [
        *(("", level) for level in LEVELS),
        *(("way=copy", level) for level in LEVELS),
    ]
    full, own = found[0], found[1]
    assert (full.n, own.n, own.kind) == (4, 4, "oracle")
    assert own.gain.mean == pytest.approx(0.15)
    assert own.against_full.mean == pytest.approx(-0.05)
    assert math.isnan(full.against_full.mean)
    assert full.budget.mean == 1.0
    assert own.budget.mean == pytest.approx(0.4)
    assert own.distance.mean == pytest.approx(0.6)
    assert full.distance.mean == pytest.approx(1.2)  # of the pairs
    assert full.distance.n == 4
    assert [full.equal[tau].mean for tau in ("1e-05", "0.0001")] == pytest.approx([0.7, 1.0])
    assert own.bound["1e-05"].mean == pytest.approx(0.2)
    # Seeds at ± 0.001 of four: sd 0.001 · √(4/3), scaled by the difference of the levels' wobbles, which is none here.
    assert own.against_full.half_width == pytest.approx(0.0, abs=1e-9)
    drawn = found[2]
    half = stats.t.ppf(0.975, 3) * 0.001 * (len("drawn") - len("all")) * math.sqrt(4 / 3) / 2
    assert drawn.against_full.half_width == pytest.approx(half)


def test_accuracy_within_the_margin_is_supported_and_beyond_it_refuted() -> None:
    grid = grid_of()
    assert judge(grid, accuracy(own=0.11))[ACCURACY].verdict == "supported"
    assert judge(grid, accuracy(own=0.13))[ACCURACY].verdict == "refuted"
    worse = judge(grid, accuracy(own=0.05))[ACCURACY]
    assert worse.verdict == "refuted"
    assert worse.estimate.mean == pytest.approx(-5.0)
    assert worse.note.startswith("baseline: −5.0")
    assert "way=copy: −5.0" in worse.note
    assert len(worse.runs) == 16


def test_a_random_subnetwork_that_does_as_well_is_no_support() -> None:
    grid = grid_of()
    assert judge(grid, accuracy(own=0.2, drawn=0.1))[RANDOM].verdict == "supported"
    assert judge(grid, accuracy(own=0.1, drawn=0.2))[RANDOM].verdict == "refuted"
    assert judge(grid, accuracy(own=0.1, drawn=0.1))[RANDOM].verdict == "inconclusive"


def test_distance_is_judged_against_another_seed() -> None:
    grid = grid_of()
    near = judge(grid, accuracy(), distance=0.6)[NEARER]
    assert near.verdict == "supported"
    assert near.estimate.mean == pytest.approx(0.6)
    assert "final mask 0.60, another seed 1.20, random mask 0.60" in near.note
    assert judge(grid, accuracy(), distance=1.5)[NEARER].verdict == "refuted"


def test_equal_weights_are_judged_against_seeds_and_the_bound() -> None:
    grid = grid_of()
    more = judge(grid, accuracy(), equal=0.9)[VALUES]
    assert more.verdict == "supported"
    # 60 % are outside of the mask, so that 30 of the 40 % inside are equal; of another seed's 30 or 50 % are. What Σ lr
    # holds equal, 20 % of all weights, may all lie inside, where it is 50 %.
    assert more.estimate.mean == pytest.approx(75.0 - 50.0, abs=0.01)
    text = "75.0 % at 1e-05 inside of the mask (40.0 % of another seed's; at most 50.0 % by Σ lr alone; 90.0 % of all"
    assert text in more.note
    assert judge(grid, accuracy(), equal=0.9, bound=0.1)[VALUES].estimate.mean == pytest.approx(75.0 - 40.0, abs=0.01)
    assert judge(grid, accuracy(), equal=0.9, bound=0.3)[VALUES].verdict == "smaller than the margin"
    assert judge(grid, accuracy(), equal=0.9, bound=0.9)[VALUES].verdict == "refuted"
    # As many as of another seed's: none of that is the mask's doing.
    assert judge(grid, accuracy(), equal=0.76, bound=0.0)[VALUES].verdict == "smaller than the margin"


def test_what_is_missing_is_said() -> None:
    bare = make_grid()
    runs = make_runs(bare, lambda cell, seed: 0.4)
    pairs = label_pairs(bare, runs, make_overlap(runs, lambda a, b: (400, 400, 300, 250.0)))
    assert arms(Results(bare, runs, pairs)) == []
    assert {claim.verdict for claim in claims(Results(bare, runs, pairs))} == {"not tested"}

    no_random = judge(grid_of(all=[], own=["subnetwork.mask=oracle"]), accuracy())
    assert no_random[RANDOM].verdict == "not tested"
    assert no_random[ACCURACY].verdict == "supported"

    one_seed = judge(grid_of((0,)), accuracy())
    assert one_seed[ACCURACY].verdict == "inconclusive"
    assert one_seed[NEARER].verdict == "not tested"

    grid = grid_of()
    results = table(grid, accuracy())
    runs = results.runs
    runs.loc[runs["part"] == "own", "status"] = "failed"
    assert {claim.verdict for claim in claims(results)} == {"not tested"}
    older = runs.drop(columns=[name for name in runs if str(name).startswith(("budget", "distance", "equal", "bound"))])
    assert math.isnan(arms(results.among(older))[1].distance.mean)


def test_a_mask_of_the_full_run_beside_is_its_own_whatever_overrides_name_it() -> None:
    """As on the diagonal of a grid of transfer."""
    grid = grid_of(
        all=[],
        of_rl=["subnetwork.mask=oracle", "subnetwork.source=[algorithm=grpo]"],
        of_copy=["subnetwork.mask=oracle", "subnetwork.source=['algorithm=sft', 'algorithm.data=gold']"],
    )
    results = table(grid, accuracy(of_rl=0.1, of_copy=0.1))
    runs = results.runs
    of_full = {
        (part, seed): run_id({"part": "all", "way": way}, seed)
        for part, way in (("of_rl", "rl"), ("of_copy", "copy"))
        for seed in grid.seeds
    }
    assert set(of_full.values()) <= set(runs["run_id"])
    sources = [of_full.get((part, seed), "") for part, seed in zip(runs["part"], runs["seed"], strict=True)]
    own = results.among(runs.assign(source=pd.Series(sources)))
    kinds = {(arm.context, arm.level): arm.kind for arm in arms(own) if arm.level != "all"}
    assert {key for key, kind in kinds.items() if kind == roles.ORACLE} == {("", "of_rl"), ("way=copy", "of_copy")}
    assert all(kind == roles.ORACLE or kind.startswith("oracle of ") for kind in kinds.values())
    assert {claim.key: claim.verdict for claim in claims(own)}[ACCURACY] != "not tested"
    elsewhere = results.among(runs.assign(source="0123456789ab"))
    assert {claim.verdict for claim in claims(elsewhere)} == {"not tested"}
