"""A sweep's directory: whose it is, and its table of runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from subnetray.config import ConfigError
from subnetray.driver.execute import pending
from subnetray.driver.ledger import Ledger, runs_schema
from subnetray.files import atomic_path
from subnetray.subnetwork import Mask
from tests.driver.sweeps import make_plan, make_restricted_plan, random_masks, write_init, write_result


def test_runs_parquet_has_every_factor_and_result_as_a_column(tmp_path: Path) -> None:
    plan = make_plan()
    ledger = Ledger(tmp_path / "out", plan)
    ledger.open(["+grid=smoke"], "auto")
    first, second, *_ = plan.runs
    write_result(ledger.directory, first)
    write_result(ledger.directory, second, status="failed", error="RunError: loss is nan at step 3")
    ledger.write_runs()
    rows = pq.read_table(ledger.directory / "runs.parquet").to_pylist()
    assert [row["run_id"] for row in rows] == [first.run_id, second.run_id]
    done, failed = rows
    assert (done["method"], done["learning_rate"], done["seed"]) == ("grpo", "1e-5", 0)
    assert (done["accuracy_greedy_before"], done["accuracy_greedy_after"]) == (0.5, 0.75)
    assert (done["reward_before"], done["reward_after"]) == (0.5, 0.625)
    assert (done["density_bitwise"], done["density_1e-05"], done["n"]) == (0.25, 0.25, 100)
    assert (done["density_fp16"], done["density_fp32"], done["energy_90"], done["reachable"]) == (0.5, 1.0, 0.1, 0.75)
    assert (done["density_step"], done["density_ever"]) == (0.03125, 0.3125)
    assert (done["cancelled_of_n"], done["cancelled_of_ever_at_snapshots"]) == (0.0625, 0.1)
    assert (done["coherence_held"], done["growth_held"]) == (0.375, None)
    assert failed["error"] == "RunError: loss is nan at step 3"
    assert failed["density_bitwise"] is None
    assert set(done) == set(runs_schema(plan).names)


def test_sweep_yaml_holds_the_resolved_grid(tmp_path: Path) -> None:
    plan = make_plan()
    Ledger(tmp_path / "out", plan).open(["+grid=smoke"], "auto")
    content = yaml.safe_load((tmp_path / "out" / "sweep.yaml").read_text())
    assert content["grid"]["factors"]["method"]["levels"]["sft_gold"] == ["algorithm=sft", "algorithm.data=gold"]
    assert content["overrides"] == ["+grid=smoke"]


def test_only_finished_runs_are_not_run_again(tmp_path: Path) -> None:
    plan = make_plan()
    ledger = Ledger(tmp_path, plan)
    done, failed, torn, *rest = plan.runs
    write_result(tmp_path, done)
    write_result(tmp_path, failed, status="failed", error="out of memory")
    write_result(tmp_path, torn)
    (tmp_path / "runs" / torn.run_id / "result.json").write_text('{"run_id": ')
    todo = {run.run_id for run in pending(ledger, "auto")}
    assert todo == {run.run_id for run in (failed, torn, *rest)}
    assert len(pending(ledger, "never")) == len(plan.runs)


def test_the_longest_runs_come_first(tmp_path: Path) -> None:
    todo = pending(Ledger(tmp_path, make_plan()), "auto")
    assert todo[0].config.algorithm.name == "dpo"
    assert todo[-1].config.algorithm.name == "sft"


def test_a_directory_of_another_sweep_is_refused_and_kept(tmp_path: Path) -> None:
    Ledger(tmp_path / "out", make_plan()).open([], "auto")
    other = Ledger(tmp_path / "out", make_plan("algorithm.epsilon=0.3"))
    with pytest.raises(ConfigError, match="holds a sweep \\(smoke\\) of other runs"):
        other.check("auto")
    other.check("never")


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    for resume in ("auto", "never"):
        with pytest.raises(ConfigError, match="holds other files"):
            Ledger(tmp_path, make_plan()).check(resume)


def test_resume_must_needs_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no sweep to resume"):
        Ledger(tmp_path / "new", make_plan()).check("must")
    assert not (tmp_path / "new").exists()


def test_two_drivers_cannot_share_a_directory(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "out", make_plan())
    first.open([], "auto")
    with pytest.raises(ConfigError, match="another sweep is running"):
        Ledger(tmp_path / "out", make_plan()).open([], "auto")


def test_what_a_killed_sweep_was_writing_is_removed(tmp_path: Path) -> None:
    """... and nothing else."""
    plan = make_plan()
    ledger = Ledger(tmp_path / "out", plan)
    ledger.open([], "auto")
    write_result(ledger.directory, plan.runs[0])
    assert ledger._lock is not None
    os.close(ledger._lock)  # as the end of a process does
    of_run = ledger.run_directory(plan.runs[0])
    with atomic_path(of_run / "result.json") as unfinished:
        shutil.copy(of_run / "result.json", unfinished)
    left = [unfinished, ledger.directory / ".runs.parquet.a1_b2c3d"]
    kept = [ledger.directory / "sweep.yaml", of_run / "result.json", of_run / ".hidden", ledger.directory / ".tune"]
    for path in (*left, *kept[2:]):
        path.touch()
    Ledger(tmp_path / "out", plan).open([], "auto")
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_resume_never_starts_anew(tmp_path: Path) -> None:
    plan = make_plan()
    directory = tmp_path / "out"
    Ledger(directory, plan).check("auto")
    ledger = Ledger(directory, plan)
    ledger.open([], "auto")
    write_result(directory, plan.runs[0])
    fresh = Ledger(directory, plan)
    assert ledger._lock is not None
    os.close(ledger._lock)
    fresh.open([], "never")
    assert not fresh.done(plan.runs[0])


@pytest.fixture
def mask(tmp_path: Path) -> Mask:
    (mask,) = random_masks(write_init(tmp_path / "init"), [0.3])
    return mask


def test_a_restricted_run_says_what_it_was_restricted_to_and_how_near_it_came(tmp_path: Path) -> None:
    plan = make_restricted_plan()
    ledger = Ledger(tmp_path / "out", plan)
    ledger.open([], "auto")
    near, far = plan.runs
    distance = {"relative": 0.5, "equal": {"1e-05": 0.75, "0.0001": 1.0}, "bound": {"1e-05": 0.25, "0.0001": 1.0}}
    found = {"arm": "random", "source": near.source, "k": 25, "n": 100, "distance": distance}
    write_result(ledger.directory, near, subnetwork=found)
    write_result(ledger.directory, far, subnetwork=found | {"distance": {**distance, "bound": None}})
    ledger.write_runs()
    one, two = pq.read_table(ledger.directory / "runs.parquet").to_pylist()
    assert (one["arm"], one["source"], one["budget"]) == ("random", near.source, 0.25)
    assert (one["distance_to_source"], one["equal_1e-05"], one["equal_0.0001"]) == (0.5, 0.75, 1.0)
    assert (one["bound_1e-05"], one["bound_0.0001"]) == (0.25, 1.0)
    assert (two["equal_1e-05"], two["bound_1e-05"]) == (0.75, None)


def test_sources_go_first_and_are_not_run_for_what_is_done(tmp_path: Path, mask: Mask) -> None:
    plan = make_restricted_plan()
    ledger = Ledger(tmp_path / "out", plan)
    first, second = plan.sources
    assert {run.run_id for run in pending(ledger, "auto")[:2]} == {first.run_id, second.run_id}
    write_result(ledger.directory, first)
    mask.save(ledger.directory / "runs" / first.run_id / "mask.safetensors", {})
    write_result(ledger.directory, plan.runs[1])
    assert pending(Ledger(tmp_path / "out", plan), "auto") == [plan.runs[0]]
    assert len(pending(Ledger(tmp_path / "out", plan), "never")) == 4


def test_a_source_that_is_done_in_a_sweep_beside_this_one_is_used_from_there(tmp_path: Path, mask: Mask) -> None:
    plan = make_restricted_plan()
    first, second = plan.sources
    for place in ("other", "train/x"):
        write_result(tmp_path / place, first, status="done" if place == "train/x" else "failed")
        mask.save(tmp_path / place / "runs" / first.run_id / "mask.safetensors", {})
    ledger = Ledger(tmp_path / "out", plan)
    assert ledger.source_directory(first.run_id) == tmp_path / "train" / "x" / "runs" / first.run_id
    assert ledger.source_directory(second.run_id) == tmp_path / "out" / "runs" / second.run_id
    assert first not in pending(ledger, "never")
    assert second in pending(ledger, "auto")


def test_what_keeps_a_source_from_being_used_is_said(tmp_path: Path, mask: Mask) -> None:
    plan = make_restricted_plan()
    ledger = Ledger(tmp_path / "out", plan)
    (source, _) = plan.sources
    path = ledger.directory / "runs" / source.run_id / "mask.safetensors"
    assert ledger.source_problem(source.run_id) == "ended without a result"
    write_result(ledger.directory, source, status="failed", error="no memory")
    assert ledger.source_problem(source.run_id) == "failed: no memory"
    write_result(ledger.directory, source)
    assert "has no mask to use: subnetwork.mask: " in str(ledger.source_problem(source.run_id))
    (mask & ~mask).save(path, {})
    assert str(ledger.source_problem(source.run_id)).endswith("is an empty mask: nothing would be trained")
    path.unlink()
    mask.save(path, {})
    assert ledger.source_problem(source.run_id) is None
