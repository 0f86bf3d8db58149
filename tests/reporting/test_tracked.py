"""Test what a tracker shows of a sweep as a whole, made from its directory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from subnetray.analysis.intervals import pair_interval, t_interval
from subnetray.nulls import NULLS
from subnetray.reporting.report import write_report
from subnetray.reporting.tracked import findings
from tests.analysis.tables import make_grid, make_overlap, make_runs
from tests.reporting.sweeps import write_sweep

GRID = make_grid()


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = make_runs(GRID, lambda cell, seed: 0.2 + 0.1 * (cell["limit"] == "no") + 0.01 * seed)
    overlap = make_overlap(runs, lambda a, b: (200, 250, 120, 100.0))
    directory = write_sweep(tmp_path_factory.mktemp("swept") / "made_up", GRID, runs, overlap)
    write_report(directory)
    return directory


def test_sparsity_is_given_by_factor_and_level_with_its_interval(swept: Path) -> None:
    summary = findings(swept).summary
    found = t_interval([0.8, 0.79, 0.78])
    for key in ("sparsity/baseline", "sparsity/way/rl", "sparsity/limit/yes"):
        assert summary[f"{key}/mean"] == pytest.approx(found.mean)
        assert summary[f"{key}/low"] == pytest.approx(found.low)
        assert summary[f"{key}/high"] == pytest.approx(found.high)
        assert summary[f"{key}/n"] == 3
    assert summary["sparsity/limit/no/mean"] == pytest.approx(0.69)
    assert summary["runs/done"] == 3 * 6


def test_overlap_is_given_by_what_pairs_differ_in_and_above_every_declared_null(swept: Path) -> None:
    found = findings(swept)
    pairs = pd.DataFrame(found.tables["tables/pairs"])
    one = pairs[(pairs["differs"] == "limit") & (pairs["a.way"] == "rl") & (pairs["a.rate"] == "slow")]
    units = list(zip(one["a.seed"], one["b.seed"], strict=True))
    for column in ("o1", "kappa", *(f"excess_{null}" for null in NULLS)):
        expected = pair_interval(one[column].astype(float).tolist(), units)
        assert found.summary.get(f"overlap/limit/no/{column}/mean") == pytest.approx(expected.mean)
    assert found.summary["overlap/limit+seed/no/o1/n"] == 3
    assert found.summary["overlap/seed/o1/mean"] == pytest.approx(0.6)
    assert found.summary["overlap/seed/excess_joint/mean"] == pytest.approx(20 / 200)


def test_tables_have_factors_and_labels_and_no_key_stands_for_two_things(swept: Path) -> None:
    found = findings(swept)
    runs, cells, pairs, claims = (found.tables[f"tables/{name}"] for name in ("runs", "cells", "pairs", "claims"))
    assert (len(runs), len(cells), len(pairs)) == (18, 6, 18 * 17 // 2)
    assert {"label", "way", "rate", "limit", "seed"} <= set(runs[0])
    assert cells[0]["cell"] == "baseline"
    assert cells[0]["density_mean"] == pytest.approx(0.21)
    assert {"label_a", "label_b", "a.way", "b.way", "differs", "excess_joint"} <= set(pairs[0])
    assert pairs[0]["differs"].count("+") == 0 < pairs[-1]["differs"].count("+")
    assert {claim["verdict"] for claim in claims} > {"not tested"}
    assert found.summary["claims/limited_impact_of_clip"] == next(
        claim["verdict"] for claim in claims if claim["claim"] == "limited_impact_of_clip"
    )
    parts = (found.summary, found.tables, found.images, found.pages)
    keys = [key for part in parts for key in part]
    assert len(set(keys)) == len(keys)
    assert not any("." in key for key in found.summary)  # to W&B, one more level of nesting


def test_figures_and_the_report_are_there(swept: Path) -> None:
    found = findings(swept)
    names = ("density", "origins", "overlap", "overlap_heat_map")
    assert {f"figures/{name}" for name in names} <= set(found.images)
    assert found.pages == {"report": swept / "report.html"}


def test_a_sweep_that_has_just_begun_has_little_to_show(tmp_path: Path) -> None:
    runs = make_runs(GRID, lambda cell, seed: 0.2).head(1)
    found = findings(write_sweep(tmp_path / "begun", GRID, runs))
    assert (found.summary["runs/done"], found.summary["pairs/all"]) == (1, 0)
    assert found.summary["sparsity/baseline/mean"] == pytest.approx(0.8)
    assert "sparsity/baseline/low" not in found.summary  # of one seed there is no interval
    assert (found.tables["tables/pairs"], found.tables["tables/claims"]) == ([], [])
    assert (found.images, found.pages) == ({}, {})
