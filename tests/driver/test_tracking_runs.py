"""Test what W&B shows of a run: sections, summaries, words, the code it was made with, the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from subnetray.config import Cluster, Tracking
from subnetray.driver.tracking import RunFiles, Tracker
from subnetray.driver.tracking.checkout import Checkout, without_account
from subnetray.reporting.findings import Findings
from subnetray.store.metrics import METRICS
from tests.driver.sweeps import make_sweep
from tests.driver.tracked import config, files, label, offline, row, sweep_plan, track, write_steps

RUN = sweep_plan().runs[2]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subnetray.driver.tracking.patience.TOTAL_S", 180.0)


def test_a_run_has_sections_and_best_values_over_optimizer_steps(tmp_path: Path) -> None:
    path = write_steps(tmp_path, RUN, range(1, 4), density=0.5)
    path.write_text(
        '{"step": 2, "loss": 0.5, "reward": 0.75, "density": 0.25}\n{"step": 4, "loss": 1.0, "reward": 0.5}\n'
    )
    track(tmp_path, [RUN])
    kept = offline(tmp_path)[RUN.run_id]
    assert [set(line) - {"_step", "_timestamp", "_runtime"} for line in kept.history] == [
        {"step", "train/loss", "rollout/reward", "update/density"},
        {"step", "train/loss", "rollout/reward"},
    ]
    assert kept.summary["train/loss"] == {"min": 0.5, "last": 1.0}
    assert kept.summary["rollout/reward"] == {"max": 0.75, "last": 0.5}
    assert kept.summary["update/density"] == 0.25
    assert kept.metrics["step"].options.hidden
    assert set(kept.metrics) == {"step", *(metric.key for metric in METRICS)}
    assert {metric.step_metric for key, metric in kept.metrics.items() if key != "step"} == {"step"}


def test_a_run_says_in_words_and_tags_what_it_is(tmp_path: Path) -> None:
    write_steps(tmp_path, RUN, [1])
    track(tmp_path, [RUN])
    kept = offline(tmp_path)[RUN.run_id]
    found = config(kept)
    assert list(kept.run.tags) == ["smoke", "grpo", "tiny"]
    first, *factors = kept.run.notes.splitlines()
    assert first == f"{label(RUN)}, seed 0: grpo on tiny, arithmetic."
    assert factors == [
        "- method = grpo (the baseline): the algorithm, and how its training data relate to the policy",
        "- learning_rate = 1e-4: learning rate",
    ]
    assert (kept.run.run_group, kept.run.job_type) == (tmp_path.name, "run")
    assert (found["sweep"], found["grid"], found["cell"]) == (tmp_path.name, "smoke", label(RUN))
    assert (found["factor/method"], found["factor/learning_rate"]) == ("grpo", "1e-4")
    assert found["algorithm"]["lr"] == 1e-4  # as a run's config has it, nested
    sweep = offline(tmp_path)[f"sweep-{tmp_path.name}"]
    assert (list(sweep.run.tags), sweep.run.notes, sweep.run.job_type) == (["smoke"], "Does everything work?", "sweep")
    assert config(sweep)["grid"]["factors"]["method"]["baseline"] == "grpo"


def _git(where: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=where, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A user's checkout with a change that is not committed, and an address that holds an account."""
    root = tmp_path / "checkout"
    root.mkdir()
    _git(root, "init", "--quiet")
    (root / "reward.py").write_text("reward = 0\n")
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "--message", "first")
    _git(root, "remote", "add", "origin", "https://me:planted@git.example/me/mine.git")
    (root / "reward.py").write_text("reward = 1\n")
    return root


def test_a_sweep_in_a_checkout_has_its_commit_and_what_differs_from_it(checkout: Path) -> None:
    directory = checkout / "outputs" / "mine"
    write_steps(directory, RUN, [1])
    track(directory, [RUN])
    for kept in offline(directory).values():
        assert kept.run.git.commit == _git(checkout, "rev-parse", "HEAD").strip()
        assert kept.run.git.remote_url == "https://git.example/me/mine.git"
        assert "+reward = 1" in (kept.directory / "files" / "diff.patch").read_text()
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert not any(b"planted" in path.read_bytes() for path in files)
    # What is logged is not logged again because the checkout went on.
    before = {key: kept.directory for key, kept in offline(directory).items()}
    _git(checkout, "commit", "--quiet", "--all", "--message", "second")
    track(directory, [RUN])
    assert {key: kept.directory for key, kept in offline(directory).items()} == before


def test_nothing_of_a_checkout_is_kept_where_there_is_none_or_by_choice(checkout: Path, tmp_path: Path) -> None:
    for directory, tracking in (
        (tmp_path / "outside", Tracking(mode="offline")),
        (checkout / "inside", Tracking(mode="offline", git=False)),
    ):
        write_steps(directory, RUN, [1])
        tracker = Tracker(tracking, sweep_plan(), directory, print)
        tracker.finish(RUN, label(RUN), files(directory, RUN), row(RUN))
        tracker.close(Findings)
        kept = offline(directory)[RUN.run_id]
        assert not kept.run.git.commit
        assert not list(directory.glob("wandb/*/files/diff.patch"))


def test_a_checkout_runs_nothing_that_its_settings_name_and_a_long_diff_is_left_out(checkout: Path) -> None:
    marks = [checkout.parent / name for name in ("external", "monitor")]
    for key, mark in zip(("diff.external", "core.fsmonitor"), marks, strict=True):
        _git(checkout, "config", key, f"touch {mark}; true")
    assert "+reward = 1" in Checkout(checkout).facts()["diff"]
    assert not any(mark.exists() for mark in marks)
    (checkout / "reward.py").write_text("x = 1\n" * 300_000)
    assert set(Checkout(checkout).facts()) == {"commit", "remote"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://token@host:8080/a.git?key=1", "https://host:8080/a.git"),
        ("ssh://git@host/a.git", "ssh://host/a.git"),
        ("git@host:a/b.git", "git@host:a/b.git"),
        ("/srv/a.git", "/srv/a.git"),
    ],
)
def test_an_address_is_shown_without_account(url: str, shown: str) -> None:
    assert without_account(url) == shown


def test_the_machine_is_watched_by_choice_and_where_gpus_are_used(tmp_path: Path) -> None:
    laptop, gpus = make_sweep(), make_sweep("cluster=gpu")
    assert isinstance(gpus.cluster, Cluster)
    assert (laptop.tracker.system, gpus.tracker.system) == (False, True)
    assert make_sweep("tracking.system=true").tracker.system is True
    assert make_sweep("cluster=gpu", "tracking.system=false").tracker.system is False
    path = write_steps(tmp_path, RUN, [1, 2])
    tracker = Tracker(Tracking(mode="offline", system=True), sweep_plan(), tmp_path, print)
    tracker.follow(RUN, label(RUN), RunFiles(path.parent))
    tracker.finish(RUN, label(RUN), RunFiles(path.parent), row(RUN))
    tracker.close(Findings)
    found = offline(tmp_path)
    assert found[RUN.run_id].steps == [1, 2]
    assert (found[RUN.run_id].system > 0, found[f"sweep-{tmp_path.name}"].system) == (True, 0)
