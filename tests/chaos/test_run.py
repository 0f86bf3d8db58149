"""Faults that befall a stand-in for a sweep: each comes at its moment, and what is wrong with a sweep is noticed."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import pytest

from tests.chaos import stand_in
from tests.chaos.command import told_to_end
from tests.chaos.faults import FAULTS
from tests.chaos.random_kills import RandomKills
from tests.chaos.report import Outcome, line, summary
from tests.chaos.run import CONTROL, draw, suffer
from tests.chaos.scene import Bench, Scene, make_undisturbed


def _program(flaw: str) -> tuple[str, ...]:
    return (sys.executable, str(stand_in.__file__), flaw)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an undisturbed sweep of the stand-in is kept."""
    path = tmp_path_factory.mktemp("chaos")
    _, problems = make_undisturbed(Bench(path, "small", program=_program("none")))
    assert problems == []
    return path


def _suffer(root: Path, name: str, flaw: str = "none", number: int = 0) -> Outcome:
    return suffer(Bench(root, "small", program=_program(flaw)), FAULTS[name], 0, number)


@pytest.mark.parametrize("name", ["none", "step", "power", "aggregate", "report", "sigterm", "sigint"])
def test_a_sweep_that_goes_on_as_it_should_is_found_equal(root: Path, name: str) -> None:
    outcome = _suffer(root, name, number=1)  # told to end while runs go on, and not before
    assert outcome.well, line(outcome)
    assert outcome.moment
    assert outcome.state == "equal"


def test_a_second_command_is_refused_while_the_first_goes_on(root: Path) -> None:
    outcome = _suffer(root, "two-drivers", "slow")
    assert outcome.well, line(outcome)
    assert "another sweep is running" in outcome.moment


@pytest.mark.parametrize("name", ["result", "mask", "delta", "log", "table", "derived", "sweep-file"])
def test_a_file_that_is_damaged_is_noticed_unless_it_is_healed(root: Path, name: str) -> None:
    healed, left = _suffer(root, name), _suffer(root, name, "heal")
    assert healed.well, line(healed)
    assert not left.well
    assert healed.moment == left.moment  # the seed decides which file, and how


def test_a_driver_that_is_killed_at_random_seconds_ends_with_an_equal_sweep(tmp_path: Path) -> None:
    said: list[str] = []
    killed = RandomKills(tmp_path, ("words",), said.append, _program("slow"))
    outcome = killed.run(2, seed=0)
    assert outcome.well, line(outcome)
    assert [text.split(" after")[0] for text in said[1:]] == ["1 of 2: killed", "2 of 2: killed"]


def test_a_harness_that_is_told_to_end_ends_what_it_started(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "small", program=_program("slow"))
    bench.clear()
    scene = Scene(bench, random.Random(0), bench.logs)
    try:
        with pytest.raises(KeyboardInterrupt), scene.command() as command:  # noqa: PT012
            command.until(lambda: scene.runs.done, "a run was done")
            told_to_end.set()
            command.wait()
    finally:
        told_to_end.clear()
    assert command.code == -signal.SIGKILL
    assert command.family.alive() == []


def test_the_same_seed_draws_the_same_faults_and_every_kind_comes_before_one_comes_twice() -> None:
    assert draw(3, 20) == draw(3, 20) != draw(4, 20)
    names = draw(0, 2 * len(FAULTS))
    assert len(FAULTS) > 20
    assert sorted(names[: len(FAULTS) - 1]) == sorted(FAULTS.keys() - {CONTROL})
    assert draw(0, 3, ["step"]) == ["step"] * 3


@pytest.mark.parametrize(
    ("flaw", "what"),
    [("repeats", "repeated"), ("loses", "lost"), ("orphan", "orphans"), ("differs", "problems")],
)
def test_what_a_sweep_does_wrong_is_counted(root: Path, flaw: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.orphans.PATIENCE_S", 0.2)
    outcome = _suffer(root, CONTROL, flaw)
    assert len(getattr(outcome, what)) > 0
    assert not outcome.well
    assert outcome.state == "NOT EQUAL"
    assert what.rstrip("s") in line(outcome) or "report.md differs" in line(outcome)


@pytest.mark.parametrize(("flaw", "said"), [("leftover", "left in the temporary"), ("traceback", "a traceback")])
def test_what_a_sweep_leaves_or_says_is_a_problem(root: Path, flaw: str, said: str) -> None:
    outcome = _suffer(root, CONTROL, flaw)
    assert any(said in problem for problem in outcome.problems)
    assert "0 left no trace" in summary([outcome])


def test_a_moment_that_does_not_come_is_no_success(root: Path) -> None:
    """No process of a trial or an engine is ever found among the stand-in's."""
    outcome = _suffer(root, "trial")
    assert outcome.missed == "no process of a trial was found"
    assert not outcome.well
    assert outcome.state == "missed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize("name", ["read-only", "disk-full"])
def test_a_directory_that_cannot_be_written_to_is_made_so_and_mended(root: Path, name: str) -> None:
    outcome = _suffer(root, name)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.well, line(outcome)
    assert outcome.moment
    assert not os.path.ismount(root / "here" / "sweep")
