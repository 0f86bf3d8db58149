"""Overlaps of a made-up sweep between what the null expects and what replicas share."""

from __future__ import annotations

import math

import pytest

from subnetray.analysis.claims.ceiling import axes, claims
from subnetray.analysis.pairs import label_pairs
from subnetray.analysis.results import Results
from subnetray.config.compose import Composer
from subnetray.grid import plan
from tests.analysis.tables import Run, make_grid, make_overlap, make_runs

OVERLAP = plan(Composer(), ["+grid=overlap"])[1].grid

# Of 400 changed weights each, the joint null expects 200 in common.
SHARED = {"noise": 320, "seed": 260, "all": 230}


def counts(a: Run, b: Run) -> tuple[int, int, int, float]:
    differs = {name for name in ("replica", "data", "method", "seed") if a[name] != b[name]}
    if differs == {"replica"}:
        shared = SHARED["noise"]
    elif differs == {"seed"}:
        shared = SHARED["seed"]
    else:
        shared = SHARED["all"]
    # Not the same in every pair, or every interval would have no width; pairs of one kind keep their mean.
    return 400, 400, shared + (-1) ** (a["seed"] + b["seed"]), 200.0


def results() -> Results:
    runs = make_runs(OVERLAP, lambda cell, seed: 0.4)
    return Results(OVERLAP, runs, label_pairs(OVERLAP, runs, make_overlap(runs, counts)))


def test_axes_are_the_papers_and_a_ceiling() -> None:
    found = {axis.name: axis for axis in axes(results())}
    assert list(found) == [
        *("noise (replicas)", "seed", "prompts", "data", "seed and data", "algorithm", "init", "seed and algorithm"),
        "seed, data and algorithm",
    ]
    # Five seeds; a level of prompts, data and init and two of the method beside the baseline's.
    assert [axis.group.pairs for axis in found.values()] == [5, 10, 5, 5, 20, 10, 5, 40, 80]
    ceiling = found["noise (replicas)"]
    assert ceiling.of_ceiling.mean == pytest.approx(1.0)
    assert ceiling.of_ceiling.half_width == pytest.approx(0.0)
    assert ceiling.group.strongest.excess.mean == pytest.approx((320 + 1 - 200) / 400)
    expected = found["seed"].group.strongest.excess.mean / ceiling.group.strongest.excess.mean
    assert found["seed"].of_ceiling.mean == pytest.approx(expected)
    assert found["seed"].of_ceiling.mean == pytest.approx(0.5, abs=0.02)
    assert found["seed"].of_ceiling.low < expected < found["seed"].of_ceiling.high


def test_claims_are_about_pairs_that_share_nothing() -> None:
    uniform, joint = claims(results())
    # The uniform null expects 160 of 400, the joint null 200, and 230 are shared.
    assert (uniform.verdict, joint.verdict) == ("supported", "supported")
    assert uniform.estimate.mean == pytest.approx(100 * 70 / 240, abs=0.3)
    assert joint.estimate.mean == pytest.approx(100 * 30 / 200, abs=0.3)
    assert (uniform.unit, joint.unit) == 2 * ("% of the room",)
    assert "o1 57.5 %, +7.4 ± 0.2 points above it" in joint.note
    assert joint.estimate.n == 5
    assert "replicas, which differ by noise alone: 80.2 %, +30.2" in joint.note
    assert len(joint.runs) == 30


def test_an_overlap_that_the_null_expects_is_smaller_than_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHARED, "all", 200)
    uniform, joint = claims(results())
    assert (uniform.verdict, joint.verdict) == ("supported", "smaller than the margin")


def test_without_replicas_there_is_no_ceiling_and_without_pairs_no_claim() -> None:
    bare = make_grid()
    runs = make_runs(bare, lambda cell, seed: 0.4)
    pairs = label_pairs(bare, runs, make_overlap(runs, lambda a, b: (400, 400, 300, 200.0)))
    assert axes(Results(bare, runs, pairs)) == []
    assert {claim.verdict for claim in claims(Results(bare, runs, pairs))} == {"not tested"}


def test_where_replicas_share_no_more_than_chance_there_is_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHARED, "noise", 100)
    assert all(math.isnan(axis.of_ceiling.mean) for axis in axes(results()))
