"""The report of a made-up sweep against numbers worked out by hand."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from subnetray.analysis.intervals import Estimate
from subnetray.analysis.trajectory import Point
from subnetray.analysis.verdicts import Claim, Verdict, together
from subnetray.config import Factor
from subnetray.reporting import format as fmt
from subnetray.reporting.claims import section as claims_section
from subnetray.reporting.document import Table
from subnetray.reporting.pictures import figures
from subnetray.reporting.pictures.heatmap import heat_map
from subnetray.reporting.report import write_report
from tests.analysis.tables import Cell, Run, is_baseline, make_grid, make_overlap, make_runs
from tests.reporting.sweeps import all_sections, report_text, table_rows, write_sweep

GRID = make_grid()
DENSITY = {("slow", "rl"): 0.1, ("slow", "copy"): 0.3, ("slow", "own"): 0.2, ("fast", "rl"): 0.7, ("fast", "copy"): 0.8}


def density(cell: Cell, seed: int) -> float:
    return DENSITY[cell["rate"], cell["way"]] + 0.01 * (seed - 1)


def accuracy(cell: Cell, seed: int) -> float:
    return 0.6 + 0.1 * (cell["rate"] == "fast") - 0.3 * (cell["way"] == "copy") + 0.01 * (seed - 1)


def counts(a: Run, b: Run) -> tuple[int, int, int, float]:
    k1, k2 = (round(1000 * run["density_bitwise"]) for run in (a, b))
    k12 = round(0.8 * min(k1, k2))
    return k1, k2, k12, 0.5 * min(k1, k2)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = make_runs(
        GRID,
        density,
        accuracy,
        density_step=lambda cell, seed: density(cell, seed) / 10,
        density_ever=lambda cell, seed: 1.1 * density(cell, seed),
        cancelled_of_n=lambda cell, seed: 0.1 * density(cell, seed),
        cancelled_of_ever=lambda cell, seed: 1 / 11,
        cancelled_of_n_at_snapshots=lambda cell, seed: 0.05 * density(cell, seed),
        cancelled_of_ever_at_snapshots=lambda cell, seed: 1 / 22,
        coherence=lambda cell, seed: 0.5,
        coherence_held=lambda cell, seed: 0.25,
        growth_held=lambda cell, seed: math.nan,
        density_fp16=lambda cell, seed: 0.8,
        density_fp32=lambda cell, seed: 1.0,
        reachable=lambda cell, seed: 0.9,
        energy_90=lambda cell, seed: 0.2,
    )
    directory = write_sweep(tmp_path_factory.mktemp("sweep"), GRID, runs, make_overlap(runs, counts))
    assert directory / "report.md" in write_report(directory)
    return directory


@pytest.fixture(scope="module")
def text(directory: Path) -> str:
    return all_sections(directory)


def test_the_head_says_what_was_run(text: str) -> None:
    assert text.startswith("# Sweep made_up\n\nWhat if?\n")
    assert "18 of 18 runs are done, 0 failed" in text
    assert "6 cells with one of the seeds 0, 1 and 2" in text
    assert "varies 3 factors (rate, way, limit)" in text
    assert "`toy` (1,000)" in text


def test_the_origins_table_holds_means_intervals_and_the_papers_numbers(text: str) -> None:
    # Seeds at -1, 0 and 1 points: sd 1, half-width 4.303 / sqrt(3) = 2.48 points.
    fast = table_rows(text, "rate", "fast")[0]
    assert fast[2:6] == ["3", "70.0 ± 2.5", "+60.0 ± 0.0", "30.0"]
    assert fast[6:10] == ["35.0 ± 1.2", "+20.0 ± 2.5", "0.0 ± 0.0", "0.25 ± 0.00"]
    baseline = table_rows(text, "rate", "**slow** (baseline)")[0]
    assert baseline[2:6] == ["3", "10.0 ± 2.5", "0", "90.0"]
    copied = table_rows(text, "way", "copy")[0]
    assert copied[3:5] == ["30.0 ± 2.5", "+20.0 ± 0.0"]
    assert copied[7] == "−20.0 ± 2.5"
    assert copied[-1].startswith("6.8 (SFT, Llama-3.1-8B)")
    assert table_rows(text, "limit", "no")[0][-1].startswith("68.8 (GRPO, Qwen2.5-7B-Instruct)")
    assert "- way: besides, 69.4 % for RAFT++" in text
    assert "PRIME" not in text.split("## Dynamics")[0]  # steps are not varied


def test_the_heat_map_is_of_the_seeds_of_the_baseline(directory: Path, text: str, tmp_path: Path) -> None:
    assert "](figures/layers.png)" in text
    # 90, 100 and 110 of 1,000 in its three seeds.
    pooled: list[dict[str, Any]] = [
        {"layer": None, "module": "embedding", "n": 3000, "changed_bitwise": 0},
        {"layer": 0, "module": "q", "n": 3000, "changed_bitwise": 300},
    ]
    figures.heat_map(tmp_path / "expected.png", heat_map(pooled))
    assert (directory / "figures" / "layers.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_the_crossing_is_two_tables(text: str) -> None:
    assert table_rows(text, "copy") == [["copy", "30.0 ± 2.5", "80.0 ± 2.5"], ["copy", "−20.0 ± 2.5", "−10.0 ± 2.5"]]


def test_density_along_the_run(text: str) -> None:
    (path,) = [row for row in table_rows(text, "rate", "fast") if len(row) == 7]
    assert path[2:] == ["14.0 ± 0.5", "28.0 ± 1.0", "42.0 ± 1.5", "56.0 ± 2.0", "70.0 ± 2.5"]


def test_dynamics_stand_beside_the_papers(text: str, directory: Path) -> None:
    section = text.split("## Dynamics")[1].split("## Overlap")[0]
    fast, views = table_rows(section, "rate", "fast")
    # Of 70 % at the end; ever are a tenth more, a step changes a tenth.
    assert fast[2:9] == ["7.0 ± 0.2", "77.0 ± 2.7", "70.0 ± 2.5", "7.0 ± 0.2", "9.1 ± 0.0", "3.5 ± 0.1", "4.5 ± 0.0"]
    assert fast[9:] == ["0.50 ± 0.00", "0.25 ± 0.00", "–"]
    assert views[2:] == [
        "70.0 ± 2.5",
        "80.0 ± 0.0",
        "100.0 ± 0.0",
        "90.0 ± 0.0",
        "0.0 ± 0.0",
        "20.0 ± 0.0",
        "0.0 ± 0.0",
    ]
    (reported,) = table_rows(section, "reported")
    assert reported[2:] == ["–", "28.0", "20.0", "–", "–", "8.0", "28.6", "–", "–", "–"]
    assert "8.5 % of those that ever changed, which would be 1.9 % of all" in section
    assert "(figures/dynamics.png)" in section
    assert (directory / "tables" / "dynamics.tex").is_file()


def test_the_figure_of_dynamics_shows_the_levels_of_the_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, dict[str, list[float]]] = {}

    def record(path: Path, panels: Sequence[tuple[str, dict[str, Sequence[Point]]]]) -> None:
        for title, lines in panels:
            drawn[title] = {name: [point.mean for point in points] for name, points in lines.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    monkeypatch.setattr(figures, "along_the_run", record)
    write_report(write_sweep(tmp_path, GRID, make_runs(GRID, density, accuracy)))
    assert list(drawn) == ["since the init", "of the step"]
    assert drawn["since the init"]["rl"] == pytest.approx([0.01 * step for step in range(1, 11)])
    assert drawn["of the step"]["copy"] == pytest.approx([0.03] * 10)


def test_runs_from_before_dynamics_were_recorded_have_no_section(tmp_path: Path) -> None:
    runs = make_runs(GRID, density, accuracy)
    kept = [
        name
        for name in runs
        if not str(name).startswith(
            ("cancelled", "coherence", "growth", "energy", "reachable", "density_step", "density_ever")
        )
    ]
    directory = write_sweep(tmp_path, GRID, runs[kept])
    for path in directory.glob("runs/*/metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text(
            "".join(json.dumps({"step": line["step"], "density": line["density"]}) + "\n" for line in lines)
        )
    text = report_text(directory)
    assert "Density along the run" in text
    assert "Dynamics" not in text


def test_sentences_are_computed_from_the_tables(text: str) -> None:
    assert "visibly changes **10.0 ± 2.5 %** of the weights (3 seeds), a sparsity of 90.0 %" in text
    assert "at the paper's tolerance of 1e-5, 95.0 %" in text
    assert "moves by +10.0 ± 2.5 points from 50.0 %" in text
    assert "**rate (60.0)**, then way (20.0), limit (0.0)" in text
    assert "between levels of rate at the same way, density differs by 50 to 60 points" in text
    assert "between levels of way at the same rate, density differs by 10 to 20 points" in text


def test_overlap_tables_and_nulls(text: str) -> None:
    (seeds,) = table_rows(text, "seed", "baseline")
    # Masks of 90, 100 and 110: o1 is 0.8 of the smaller one, o2 smaller by the ratio of sizes.
    o2 = (72 / 100 + 72 / 110 + 80 / 110) / 3
    assert seeds[2:5] == ["3", "80.0 ± 0.0", f"{100 * o2:.1f}"]
    assert seeds[7:10] == [f"{100 * (0.1 + 0.11 + 0.11) / 3:.1f}", "50.0", "50.0"]
    assert seeds[11:13] == ["+30.0 ± 0.0", "+30.0 ± 0.0"]
    assert seeds[-1] == "1.50 [1.50, 1.50]"
    assert len(table_rows(text, "way", "rl and copy, at rate=fast")) == 1
    # Masks of 90, 100, 110 and of 290, 300, 310: o1 is 0.8, whatever the seeds; what ULP and joint null expect is 0.5.
    (both,) = table_rows(text, "way and seed", "rl and copy")
    assert both[2:4] == ["6", "80.0 ± 0.0"]
    assert both[7:10] == ["30.0", "50.0", "50.0"]
    assert both[11:13] == ["+30.0 ± 0.0", "+30.0 ± 0.0"]
    assert "way +30.0 ± 0.0" in text
    assert [row[1] for row in table_rows(text, "way, same seed") + table_rows(text, "way and seed", "12")] == [
        "6",
        "12",
    ]
    (left,) = table_rows(text, "seed, at the baseline")
    assert left[1:9] == ["3", "80.0 ± 0.0", "10.7", "40.0", "45.0", "50.0", "50.0", "57"]
    assert left[9:12] == ["+35.0 ± 0.0", "+30.0 ± 0.0", "+30.0 ± 0.0"]
    assert left[12:] == ["2.00 [2.00, 2.00]", "1.50 [1.50, 1.50]", "75.0 ± 0.0", "−0.50 ± 0.00"]
    assert "0.605 / 0.606" in text
    assert "0.593–0.619" in text


def test_a_table_of_overlaps_of_an_earlier_version_leaves_dashes(tmp_path: Path) -> None:
    runs = make_runs(GRID, density, accuracy)
    overlap = make_overlap(runs, counts)
    newer = [
        name for name in overlap if str(name).startswith(("tensor", "margins", "joint", "sign", "cosine", "agreement"))
    ]
    text = report_text(write_sweep(tmp_path, GRID, runs, overlap.drop(columns=newer)))
    (left,) = table_rows(text, "seed, at the baseline")
    assert left[1:9] == ["3", "80.0 ± 0.0", "10.7", "–", "–", "50.0", "–", "–"]
    assert left[9:] == ["–", "+30.0 ± 0.0", "–", "2.00 [2.00, 2.00]", "–", "–", "–"]


def test_a_level_with_another_seed_too_is_listed_at_the_baseline_alone(text: str) -> None:
    section = text.split("### Another seed and another level of one factor")[1].split("###")[0]
    assert [row[:3] for row in table_rows(section) if " and seed" in row[0]] == [
        ["rate and seed", "slow and fast", "6"],
        ["way and seed", "rl and copy", "6"],
        ["way and seed", "rl and own", "6"],
        ["way and seed", "copy and own", "6"],
        ["limit and seed", "yes and no", "6"],
    ]


def test_the_figure_of_overlaps_shows_levels_with_another_seed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fewer_with_another_seed(a: Run, b: Run) -> tuple[int, int, int, float]:
        return 100, 100, 80 if a["seed"] == b["seed"] else 60, 50.0

    drawn: list[figures.OverlapRow] = []

    def record(path: Path, panels: Sequence[Sequence[tuple[str, Sequence[figures.OverlapRow]]]]) -> None:
        drawn.extend(row for panel in panels for _, rows in panel for row in rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    monkeypatch.setattr(figures, "overlaps", record)
    runs = make_runs(GRID, density, accuracy)
    write_report(write_sweep(tmp_path, GRID, runs, make_overlap(runs, fewer_with_another_seed)))
    rows = {row.label: (row.observed.mean, row.reseeded) for row in drawn}
    assert list(rows["rl and copy"]) == pytest.approx([0.8, 0.6])
    assert rows["baseline"][0] == pytest.approx(0.6)
    assert math.isnan(rows["baseline"][1])


def test_failed_runs_are_named_with_their_reasons_and_do_not_count(tmp_path: Path) -> None:
    runs = make_runs(GRID, density, accuracy)
    index = runs.index[(runs["rate"] == "fast") & (runs["seed"] == 1)][0]
    runs.loc[index, ["status", "error"]] = ["failed", "the loss is nan\nat step 3"]
    runs.loc[index, ["density_bitwise", "density_1e-05", "n"]] = float("nan")
    text = report_text(write_sweep(tmp_path, GRID, runs))
    assert "17 of 18 runs are done, 1 failed" in text
    assert "the loss is nan at step 3" in (tmp_path / "report.md").read_text()
    assert table_rows(text, f"`{runs['run_id'][index]}`")[0][1:] == ["rate=fast", "1", "`the loss is nan at step 3`"]
    assert table_rows(text, "rate", "fast")[0][2:4] == ["2", f"70.0 ± {12.706 * 1:.1f}"]


def test_a_running_sweep_is_reported_as_far_as_it_is(tmp_path: Path) -> None:
    text = report_text(write_sweep(tmp_path / "begun", GRID, None))
    assert "0 of 18 runs are done, 0 failed, 18 have no result yet" in text
    runs = make_runs(GRID, density, accuracy)
    few = runs[[is_baseline(GRID, {name: run[name] for name in GRID.factors}) for _, run in runs.iterrows()]].head(1)
    directory = write_sweep(tmp_path / "one", GRID, few)
    text = report_text(directory)
    assert "1 of 18 runs are done, 0 failed, 17 have no result yet" in text
    assert "visibly changes **9.0 %** of the weights (1 seed)" in text
    assert {path.name for path in (directory / "figures").iterdir()} == {"layers.png", "dynamics.png"}


def test_a_grid_without_factors_that_the_literature_knows(tmp_path: Path) -> None:
    colours = Factor("", "red", {"red": [], "blue": ["evaluation.prompts=3"]})
    grid = make_grid(factors={"colour": colours}, one_at_a_time=["colour"], crossed=[], about="")
    runs = make_runs(grid, lambda cell, seed: 0.25 + 0.5 * (cell["colour"] == "blue"))
    text = report_text(write_sweep(tmp_path / "a", grid, runs, make_overlap(runs, counts)))
    assert table_rows(text, "colour", "blue")[0][3:5] == ["75.0 ± 0.0", "+50.0 ± 0.0"]
    assert "Crossing" not in text
    nothing = make_grid(factors={}, one_at_a_time=[], crossed=[], seeds=[5, 7])
    runs = make_runs(nothing, lambda cell, seed: 0.25)
    text = report_text(write_sweep(tmp_path / "b", nothing, runs, make_overlap(runs, counts)))
    assert table_rows(text, "", "baseline")[0][-1] == "25.0 ± 0.0"


def test_claims_are_on_top_and_in_a_file_with_the_runs_they_rest_on(directory: Path, text: str) -> None:
    assert text.index("## Claims") < text.index("## What was found") < text.index("## Origins")
    (row,) = table_rows(text, "Gradient clipping has limited impact on the density of an update.")
    # Every gradient norm is step / 4: of 10 steps, 6 are over the limit of 1.
    assert row[1:] == [
        *("**supported**", "0.00", "0.00 to 0.00 (90 %)", "percentage points", "3", "0.00", "holds"),
        "largest at limit=no; 60 % of gradients were over the limit",
    ]
    entries = {each["claim"]: each for each in json.loads((directory / "claims.json").read_text())}
    entry = entries["limited_impact_of_clip"]
    assert (entry["verdict"], entry["level"], entry["seeds"]) == ("supported", 0.9, 3)
    runs = pd.read_parquet(directory / "runs.parquet")
    expected = runs[(runs["rate"] == "slow") & (runs["way"] == "rl")]["run_id"]
    assert sorted(entry["runs"]) == sorted(expected)
    assert entries["sparse_in_bf16_not_in_fp32"]["verdict"] == "not tested"
    (line,) = (
        line for line in text.splitlines() if line.startswith("- RL updates are sparse in bf16, and not in fp32.")
    )
    assert line.endswith(" (The grid does not vary precision. Run `+grid=origins` to test it.)")


@pytest.mark.parametrize(
    ("p", "verdict", "left"),
    [(0.001, "supported", "holds"), (0.04, "supported", "inconclusive"), (1.0, "inconclusive", fmt.NONE)],
)
def test_a_verdict_stands_beside_what_all_claims_together_leave_of_it(p: float, verdict: Verdict, left: str) -> None:
    estimate = Estimate(1.0, 0.5, 1.5, 3)
    others = [Claim(key, "Another.", "", "", "supported", estimate, p=0.03) for key in ("two", "three")]
    made = together([Claim("one", "This one.", "", "", verdict, estimate, p=p), *others])
    *_, shown = claims_section(make_grid(), made)
    assert isinstance(shown, Table)
    assert shown.rows[0][7] == left


def test_the_page_holds_what_the_markdown_does(directory: Path, text: str) -> None:
    page = (directory / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    assert '<td>fast</td><td class="r">3</td><td class="r">70.0 ± 2.5</td>' in page
    content = page[page.index("<main") : page.index("</main>")]
    assert content.count("<table>") == sum(line.startswith("| :") for line in text.splitlines())


def test_figures_and_tables_are_files_and_the_report_links_them(directory: Path, text: str) -> None:
    for name in ("density", "origins", "overlap"):
        assert f"(figures/{name}.png)" in text
        assert (directory / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert r"rate & fast & 3 & 70.0 $\pm$ 2.5" in (directory / "tables" / "origins.tex").read_text()
    assert r"seed & rate=fast & 3" in (directory / "tables" / "overlap.tex").read_text()


def test_tables_for_papers_are_whole_and_plain_and_claims_are_among_them(directory: Path, text: str) -> None:
    written = {path.stem: path.read_text() for path in (directory / "tables").glob("*.tex")}
    assert {"claims", "origins", "overlap", "dynamics"} <= set(written)
    for name, content in written.items():
        assert content.isascii(), name
        assert content.count(r"\begin{table}") == content.count(r"\end{table}") == content.count(r"\caption[")
        assert rf"\label{{tab:{name}}}" in content
    verdicts = [row for row in table_rows(text) if row[1:] and row[1] in ("**supported**", "**refuted**")]
    assert sum(written["claims"].count(rf"\textbf{{{word}}}") for word in ("supported", "refuted")) == len(verdicts)


def test_the_summary_is_one_page_of_verdicts_two_figures_and_where_to_look(directory: Path, text: str) -> None:
    page = (directory / "report.md").read_text()
    assert page.startswith("# Sweep made_up\n\nWhat if?\n")
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        *("## Claims", "## What was found", "## Where to look")
    ]
    full = {row[0]: row[1:4] for row in table_rows(text) if row[1:] and row[1].startswith("**")}
    short = [row for row in table_rows(page) if row[1:] and row[1].startswith("**")]
    assert short
    for claim, verdict, estimate, interval in short:
        assert full[claim][0] == verdict
        assert estimate.startswith(full[claim][1])
        assert interval == full[claim][2]
    assert page.count("![") == 2
    for name in re.findall(r"^- `([^`]*)`", page.split("## Where to look")[1], re.MULTILINE):
        assert (directory / name).exists()
    assert len(page.split()) < 900


def test_the_same_sweep_gives_the_same_bytes(directory: Path) -> None:
    def written() -> dict[str, bytes]:
        suffixes = (".md", ".html", ".json", ".tex", ".png")
        return {str(path): path.read_bytes() for path in directory.rglob("*.*") if path.suffix in suffixes}

    before = written()
    write_report(directory)
    assert written() == before
