"""The dashboard of a sweep: what is sent to W&B, twice, and what is said where it is not taken."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from subnetray import dashboard
from subnetray.driver.dashboard import make, worker
from subnetray.driver.tracking.notes import Notes
from subnetray.reporting.report import write_report
from tests.analysis.tables import make_grid, make_overlap, make_runs
from tests.driver.wandb_server import KEY, Server, Stored
from tests.reporting.sweeps import write_sweep

GRID = make_grid()
needs_extra = pytest.mark.skipif(find_spec("wandb_workspaces") is None, reason="the extra dashboard is not installed")
Serve = Callable[..., Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    servers: list[Server] = []

    def start(fault: int | str | None = None) -> Server:
        servers.append(Server(fault))
        monkeypatch.setenv("WANDB_BASE_URL", servers[-1].url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = make_runs(GRID, lambda cell, seed: 0.2 + 0.1 * (cell["limit"] == "no") + 0.01 * seed)
    directory = tmp_path_factory.mktemp("swept") / "made_up"
    write_sweep(directory, GRID, runs, make_overlap(runs, lambda a, b: (200, 250, 120, 100.0)))
    write_report(directory)
    (directory / "wandb").mkdir()
    Notes(directory / "wandb").note_place(("mine", None))
    return directory


def _spec(server: Server, kind: str) -> Any:
    (found,) = [view for view in server.views.values() if view["type"] == kind]
    return json.loads(found["spec"])


@needs_extra
def test_a_dashboard_is_a_workspace_and_a_report_and_is_updated_the_second_time(
    swept: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    server.runs["sweep-made_up"] = Stored(display_name="made_up", group="made_up")
    assert dashboard.main([f"sweep={swept}"]) == 0
    said = capsys.readouterr()
    first, second = said.out.splitlines()
    assert first.startswith(f"the W&B workspace is {server.url}/tester/mine?nw=")
    assert second.startswith(f"the W&B report is {server.url}/tester/mine/reports/Sweep-made_up--")
    section = _spec(server, "project-view")["section"]
    (runs,) = section["runSets"]
    assert [each["name"] for each in runs["grouping"]] == ["factor/way.value", "factor/rate.value"]
    assert [(each["key"]["name"], each["value"]) for each in runs["filters"]["filters"]] == [("group", "made_up")]
    panels = {each["name"]: each["panels"] for each in section["panelBankConfig"]["sections"]}
    assert list(panels) == ["what was found", "train", "update", "time", "final"]
    assert [each["config"]["metrics"] for each in panels["update"]] == [
        ["update/density"],
        ["update/density_step"],
        ["update/density_ever"],
    ]
    assert {each["config"]["xAxis"] for each in panels["update"]} == {"step"}
    found = {each["viewType"]: each["config"] for each in panels["what was found"]}
    columns = [each["accessor"] for each in found["Parallel Coordinates Plot"]["columns"]]
    assert columns[:3] == [f"config:factor/{name}.value" for name in GRID.factors]
    assert "summary:final/density_bitwise" in columns
    assert found["Parameter Importance"]["targetKey"] == "final/density_bitwise"
    assert found["Scatter Plot"]["xAxis"] == "config:algorithm.value.lr"
    assert found["Vega2"]["fieldSettings"] == {"x": "joint_o1", "y": "o1"}
    assert {"figures/density", "figures/overlap_heat_map"} <= set(found["Media Browser"]["mediaKeys"])
    report = json.dumps(_spec(server, "runs"))
    claims = json.loads((swept / "claims.json").read_text())
    assert all(claim["statement"] in report for claim in claims if claim["statement"].isascii())
    assert all(word in report for word in ("Verdicts", "Method", "Parameter Importance", "joint null"))
    # Twice is once.
    before = {key: view["name"] for key, view in server.views.items() if view["type"] == "project-view"}
    assert dashboard.main([f"sweep={swept}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == first
    assert len(server.views) == 2
    assert {key: view["name"] for key, view in server.views.items() if view["type"] == "project-view"} == before
    assert KEY not in said.out + said.err


@needs_extra
def test_a_sweep_that_is_not_uploaded_yet_says_how(
    swept: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    assert dashboard.main([f"sweep={swept}", "entity=us", "project=p"]) == 2
    said = capsys.readouterr().err
    assert f"has no run us/p/sweep-made_up: upload the sweep first (wandb sync {swept}/wandb/offline-run-*)" in said
    assert not server.views


@needs_extra
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (401, "refuses the key (401)"),
        (429, "limits how often it may be asked (429)"),
        (500, "fails (500)"),
        ("gone", ""),
        ("silent", "did not answer within 8 s"),
    ],
)
def test_a_server_that_does_not_take_it_is_said_in_one_sentence(
    fault: int | str,
    reason: str,
    swept: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = serve(fault)
    if fault == "silent":
        monkeypatch.setattr(make, "DEADLINE_S", 8.0)
    assert dashboard.main([f"sweep={swept}"]) == 1
    said = capsys.readouterr()
    (sentence,) = said.err.splitlines()
    assert sentence.startswith(f"subnetray: W&B at {server.url.removeprefix('http://')} ")
    assert reason in sentence
    assert sentence.endswith("the same command can be repeated")
    assert KEY not in said.out + said.err


def test_without_the_extra_the_sentence_names_it(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard, "find_spec", lambda name: None if name == "wandb_workspaces" else sys)
    assert dashboard.main([f"sweep={swept}"]) == 2
    assert "a dashboard needs wandb-workspaces: install it with the extra dashboard" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "write sweep=DIR"),
        (["sweep="], "sweep must be a directory"),
        (["sweep=a", "report=b"], "report=b is not an option of this command"),
        (["sweep=nowhere/at/all"], "nowhere/at/all/sweep.yaml does not exist"),
        (["sweep=a", "project=b/c"], "tracking.project must be a W&B project name"),
    ],
)
def test_bad_words_are_one_sentence(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard, "_check_packages", lambda: None)
    assert dashboard.main(words) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert said in sentence


def test_a_key_that_none_can_be_is_refused_and_not_shown(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard, "_check_packages", lambda: None)
    monkeypatch.setenv("WANDB_API_KEY", "planted")
    assert dashboard.main([f"sweep={swept}"]) == 2
    assert "planted" not in capsys.readouterr().err


def test_without_the_private_name_a_workspace_is_saved_all_the_same() -> None:
    worker.call(object(), "nw-a-v")
    named = SimpleNamespace()
    worker.call(named, "nw-a-v")
    assert vars(named) == {"_internal_name": "nw-a-v"}
