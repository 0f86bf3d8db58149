"""The page of a sweep that runs: written beside it, by a process of its own, whose failure is one sentence."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from subnetray.driver.live import LivePage
from tests.analysis.tables import make_grid, make_runs
from tests.reporting.sweeps import write_sweep

GRID = make_grid(seeds=[0])


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages follow each other at once, and other tests leave their process something to do it with."""
    monkeypatch.setattr("subnetray.driver.live._NICE", 1)
    monkeypatch.setattr("subnetray.driver.live._EVERY_S", 0.1)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of which two runs are done."""
    runs = make_runs(GRID, lambda cell, seed: 0.25)
    return write_sweep(tmp_path / "sweep", GRID, runs.head(2))


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _processes() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # of one that has just ended
            if "subnetray.driver.live" in each.cmdline():
                found.append(each)
    return found


def test_the_page_says_what_is_done_and_loads_itself_again_and_nothing_else_is_written(sweep: Path) -> None:
    page, said = sweep / "report.html", list[str]()
    before = sorted(sweep.rglob("*"))
    with LivePage(sweep, said.append, wanted=True) as live:
        assert _processes() == []  # nobody has asked for a page
        live.update()
        _until(page.is_file)
        text = page.read_text()
        assert "<strong>2 of 6 runs are done.</strong> The sweep goes on" in text
        assert '<noscript><meta http-equiv="refresh" content="20"></noscript>' in text
        assert '<script data-seconds="20">' in text
        (process,) = _processes()
        assert process.nice() == 1
        more = make_runs(GRID, lambda cell, seed: 0.25).head(3)
        more.to_parquet(sweep / "runs.parquet")
        live.update()
        _until(lambda: "3 of 6 runs are done" in page.read_text())
        assert _processes() == [process]
    assert _processes() == []
    assert said == []
    assert sorted(sweep.rglob("*")) == sorted((*before, page))


def test_a_failure_is_said_once_and_the_page_follows_when_it_can(sweep: Path) -> None:
    page, said = sweep / "report.html", list[str]()
    description = (sweep / "sweep.yaml").read_bytes()
    (sweep / "sweep.yaml").write_text("version: 9\ngrid: {}\n")
    with LivePage(sweep, said.append, wanted=True) as live:
        live.update()
        _until(lambda: bool(said))
        (sweep / "sweep.yaml").write_bytes(description)
        live.update()
        _until(page.is_file)
        (process,) = _processes()
        os.kill(process.pid, signal.SIGKILL)
        page.unlink()
        live.update()  # which finds out
        _until(page.is_file)
    (sentence,) = said
    assert sentence.startswith("report.html could not be written while the sweep runs (ConfigError: sweep: ")
    assert sentence.endswith("reads 1 and 2): the sweep goes on")


def test_a_page_that_cannot_be_put_in_place_is_said(sweep: Path) -> None:
    (sweep / "report.html").mkdir()
    said: list[str] = []
    with LivePage(sweep, said.append, wanted=True) as live:
        live.update()
        _until(lambda: bool(said))
    assert "report.html" in said[0]
    assert not list(sweep.glob(".report*"))


def test_who_leaves_while_a_page_is_made_does_not_wait_for_it(sweep: Path) -> None:
    with LivePage(sweep, print, wanted=True) as live:
        live.update()
        _until(lambda: bool(_processes()))
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert _processes() == []
    assert not (sweep / "report.html").exists()


def test_nothing_happens_unless_it_is_wanted(sweep: Path) -> None:
    with LivePage(sweep, print, wanted=False) as live:
        live.update()
    assert not (sweep / "report.html").exists()
