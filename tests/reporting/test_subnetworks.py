"""The sections on restricted runs and on early identification, of a made-up sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from subnetray.config import Factor
from subnetray.reporting.report import write_report
from tests.analysis.tables import make_grid, make_overlap, make_runs
from tests.reporting.sweeps import all_sections, report_text, table_rows, write_sweep

PART = Factor(
    "what is trained",
    "all",
    {
        "all": [],
        "own": ["subnetwork.mask=oracle"],
        "borrowed": ["subnetwork.mask=oracle", "subnetwork.source=[algorithm=dpo]"],
    },
)
WAY = Factor("the algorithm", "rl", {"rl": ["algorithm=grpo"], "copy": ["algorithm=sft", "algorithm.data=gold"]})
GRID = make_grid(
    factors={"part": PART, "way": WAY},
    one_at_a_time=[],
    crossed=[{"way": ["rl", "copy"], "part": ["all", "own", "borrowed"]}],
)


def scores(way: str) -> list[dict[str, Any]]:
    """|Δ| overtakes 1/|w| at step 5, where the algorithm is rl."""
    update = {1: 0.3, 5: 0.7 if way == "rl" else 0.4}
    return [
        {"step": step, "score": score, "auprc": auprc, "precision": auprc / 2, "density": 0.25}
        for step in (1, 5)
        for score, auprc in (("update", update[step]), ("snip", 0.2), ("inverse_magnitude", 0.5), ("random", 0.25))
    ]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def of_arms(value: float) -> Any:
        return lambda cell, seed: None if cell["part"] == "all" else value

    columns: dict[str, Any] = {
        "budget": of_arms(0.25),
        "distance_to_source": of_arms(0.5),
        **{"equal_1e-05": of_arms(0.9), "equal_0.0001": of_arms(0.99)},
        **{"bound_1e-05": of_arms(0.1), "bound_0.0001": of_arms(None)},  # type: ignore[arg-type]
    }
    runs = make_runs(
        GRID,
        lambda cell, seed: 0.25,
        lambda cell, seed: 0.6 - 0.05 * (cell["part"] == "own") + 0.01 * seed,
        **columns,
    )
    overlap = make_overlap(runs, lambda a, b: (250, 250, 200, 150.0))
    directory = write_sweep(tmp_path_factory.mktemp("sweep"), GRID, runs, overlap)
    for run_id, way in runs[["run_id", "way"]].itertuples(index=False):
        path = directory / "runs" / run_id / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"early": scores(way)}))
    write_report(directory)
    return directory


@pytest.fixture(scope="module")
def text(directory: Path) -> str:
    return all_sections(directory)


def test_arms_are_beside_the_full_runs(text: str) -> None:
    (full,) = table_rows(text, "baseline", "**all**")
    (own,) = table_rows(text, "baseline", "own")
    assert full[2:4] == ["3", "100.0"]
    assert full[5:] == ["0", "1.20 ± 0.00", "70.0 ± 0.0", "–", "100.0 ± 0.0", "–"]
    assert own[2:] == [
        *("3", "25.0 ± 0.0", "+6.0 ± 2.5", "−5.0 ± 0.0", "0.50 ± 0.00"),
        *("90.0 ± 0.0", "10.0", "99.0 ± 0.0", "–"),
    ]
    assert len(table_rows(text, "way=copy")) >= 3


def test_the_matrix_has_a_row_an_arm_and_a_column_a_method(text: str) -> None:
    assert "## Transfer: a mask found by one, used by another" in text
    gain, against = table_rows(text, "borrowed")
    assert gain == ["borrowed", "+11.0 ± 2.5", "+11.0 ± 2.5"]
    assert against == ["borrowed", "0.0 ± 0.0", "0.0 ± 0.0"]
    assert table_rows(text, "all")[1] == ["all", "–", "–"]


def test_the_early_table_has_scores_by_step_beside_chance(directory: Path, text: str) -> None:
    (update,) = table_rows(text, "baseline", r"\|Δ\|")
    assert update[2:] == ["3", "25.0", "30.0 ± 0.0", "70.0 ± 0.0", "15.0 ± 0.0", "35.0 ± 0.0"]
    # Restricted runs find no mask of their own.
    assert not table_rows(text, "part=own", r"\|Δ\|")
    assert "1/|w| of the init alone has 50.0 %, and is exceeded first at step 5, by |Δ|." in text
    assert "exceeded by none of them up to step 5." in text
    assert (directory / "figures" / "early.png").is_file()
    assert r"\begin{tabular}" in (directory / "tables" / "early.tex").read_text()
    assert r"\begin{tabular}" in (directory / "tables" / "arms.tex").read_text()


def test_the_claims_are_in_the_report_and_its_file(directory: Path, text: str) -> None:
    found = {claim["claim"]: claim for claim in json.loads((directory / "claims.json").read_text())}
    assert found["subnetwork_reaches_full_accuracy"]["verdict"] == "refuted"
    assert found["subnetwork_reaches_full_accuracy"]["estimate"] == pytest.approx(-5.0)
    assert found["subnetwork_ends_nearer_than_another_seed"]["verdict"] == "supported"
    assert found["subnetwork_beats_random"]["verdict"] == "not tested"
    assert table_rows(
        text, "Inside of the mask, training only the subnetwork gives the weights of full training.", "**supported**"
    )


def test_overlaps_are_beside_their_ceiling(tmp_path: Path) -> None:
    grid = make_grid(
        factors={"again": Factor("draw", "no", {"no": [], "yes": ["rollout.replica=1"]}), "way": WAY},
        one_at_a_time=["again", "way"],
        crossed=[],
    )
    runs = make_runs(grid, lambda cell, seed: 0.4)
    overlap = make_overlap(runs, lambda a, b: (400, 400, 320 if a["seed"] == b["seed"] else 260, 200.0))
    text = report_text(write_sweep(tmp_path, grid, runs, overlap))
    (ceiling,) = table_rows(text, "noise (replicas)")
    (seed,) = table_rows(text, "seed", "3")
    assert ceiling[1:3] == ["3", "80.0 ± 0.0"]
    assert ceiling[-1] == "100 ± 0"
    assert seed[2] == "65.0 ± 0.0"
    assert seed[-1] == "50 ± 0"  # 60 of the 120 above the ULP null
    assert len(table_rows(text, "algorithm", "3")) == 1
