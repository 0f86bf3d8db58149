"""A sweep's directory: whose it is, and its table of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from subnetray.config import ConfigError
from subnetray.driver.execute import missing
from subnetray.driver.ledger import Ledger
from subnetray.files import atomic_path
from subnetray.store import results
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
    assert set(done) == {column.name for column in ledger.columns}
    times = pq.read_table(ledger.directory / "time.parquet").to_pylist()
    assert times == [{"run_id": first.run_id, "train": 1.5, "total": 2.0}]


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
    todo = {run.run_id for run in missing(ledger, "auto").todo}
    assert todo == {run.run_id for run in (failed, torn, *rest)}
    assert len(missing(ledger, "never").todo) == len(plan.runs)


def test_the_longest_runs_come_first(tmp_path: Path) -> None:
    todo = missing(Ledger(tmp_path, make_plan()), "auto").todo
    assert todo[0].config.algorithm.name == "dpo"
    assert todo[-1].config.algorithm.name == "sft"


def test_a_directory_of_another_sweep_is_taken_and_what_it_holds_is_kept(tmp_path: Path) -> None:
    plan, other = make_plan(), make_plan("algorithm.epsilon=0.3")
    first = Ledger(tmp_path / "out", plan)
    first.open(["+grid=smoke"], "auto")
    write_result(tmp_path / "out", plan.runs[0])
    _close(first)
    second = Ledger(tmp_path / "out", other)
    second.open(["+grid=smoke", "algorithm.epsilon=0.3"], "auto")
    common = {run.run_id for run in plan.runs} & {run.run_id for run in other.runs}  # of SFT and DPO
    content = yaml.safe_load((tmp_path / "out" / "sweep.yaml").read_text())
    assert content["history"] == [["+grid=smoke"], ["+grid=smoke", "algorithm.epsilon=0.3"]]
    assert plan.runs[0].run_id not in common
    assert content["kept"] == [plan.runs[0].run_id]
    _close(second)
    again = Ledger(tmp_path / "out", plan)
    again.open(["+grid=smoke"], "auto")
    assert again.done(plan.runs[0])


def test_more_seeds_in_the_same_directory_are_the_only_ones_to_run(tmp_path: Path) -> None:
    plan = make_plan()
    for run in plan.runs:
        write_result(tmp_path / "out", run)
    grown = make_plan("grid.seeds=[0,1,2,3]")
    todo = missing(Ledger(tmp_path / "out", grown), "auto").todo
    assert {run.seed for run in todo} == {2, 3}
    assert len(todo) == len(plan.runs)


@pytest.mark.parametrize("place", ["beside", "store"])
def test_runs_that_are_done_elsewhere_are_taken_over_whole(tmp_path: Path, place: str) -> None:
    plan = make_plan()
    first, damaged, *_ = plan.runs
    if place == "store":
        for run in (first, damaged):
            write_result(tmp_path / "origin", run)
            Ledger(tmp_path / "origin", plan, tmp_path / "there" / "store").publish(run)
        found = tmp_path / "there" / "store"
    else:
        for run in (first, damaged):
            write_result(tmp_path / "sweeps" / "one", run)
        found = tmp_path / "sweeps" / "one" / "runs"
    (found / damaged.run_id / "delta.safetensors").write_text("harm")
    ledger = Ledger(tmp_path / "sweeps" / "two", plan, tmp_path / "there" / "store")
    left = missing(ledger, "auto")
    assert [(run.run_id, path) for run, path in left.elsewhere] == [(first.run_id, found / first.run_id)]
    assert damaged in left.todo
    ledger.take(*left.elsewhere[0])
    assert ledger.done(first)
    for path in (found / first.run_id).iterdir():
        assert (ledger.run_directory(first) / path.name).read_bytes() == path.read_bytes()
    assert len(missing(ledger, "never").todo) == len(plan.runs)


def test_a_damaged_run_runs_again_and_why_is_said(tmp_path: Path) -> None:
    plan = make_plan()
    write_result(tmp_path / "out", plan.runs[0])
    (tmp_path / "out" / "runs" / plan.runs[0].run_id / "mask.safetensors").write_text("")
    left = missing(Ledger(tmp_path / "out", plan), "auto")
    assert plan.runs[0] in left.todo
    assert "its mask.safetensors has 0 bytes" in left.damaged[plan.runs[0].run_id]


@pytest.mark.parametrize("text", [None, "", "{", "just words", "\xff"])
def test_a_sweep_whose_description_is_damaged_goes_on(tmp_path: Path, text: str | None) -> None:
    plan = make_plan()
    ledger = Ledger(tmp_path / "out", plan)
    ledger.open(["+grid=smoke"], "auto")
    whole = ledger.sweep_file.read_bytes()
    write_result(ledger.directory, plan.runs[0])
    _close(ledger)
    if text is None:
        ledger.sweep_file.unlink()
    else:
        ledger.sweep_file.write_bytes(text.encode("latin-1"))
    again = Ledger(tmp_path / "out", plan)
    again.open(["+grid=smoke"], "auto")
    assert again.done(plan.runs[0])
    assert again.sweep_file.read_bytes() == whole


# As W&B and others write files of that name.
_FOREIGN = [
    "program: train.py\nmethod: grid\nparameters: {lr: {values: [1, 2]}}\n",
    "version: 2\n",
    "[]",
    "runs: []",
    "a",
]


@pytest.mark.parametrize("text", _FOREIGN)
@pytest.mark.parametrize("resume", ["auto", "never", "must"])
def test_a_directory_with_somebody_elses_sweep_yaml_is_refused_and_left_alone(
    tmp_path: Path, text: str, resume: str
) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="out must be a new directory or that of a sweep"):
        Ledger(tmp_path, make_plan()).open([], resume)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "sweep.yaml"]
    assert (tmp_path / "runs" / "thesis.tex").read_text() == "years of work"


def test_resume_never_removes_what_sweeps_wrote_and_nothing_else(tmp_path: Path) -> None:
    plan, other = make_plan(), make_plan("algorithm.epsilon=0.3")
    ledger = Ledger(tmp_path, other)
    ledger.open([], "auto")
    for run in (plan.runs[0], other.runs[0]):
        write_result(tmp_path, run)
    ledger.write_runs()
    _close(ledger)
    mine = [
        tmp_path / "notes.md",
        tmp_path / "runs" / other.runs[0].run_id / "plot.png",
        tmp_path / "figures" / "a.png",
    ]
    mine += [tmp_path / "runs" / plan.runs[0].run_id / "result.json"]  # of a run that no sweep here has named
    for path in (*mine, results.checkpoint(tmp_path / "runs" / other.runs[0].run_id)):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    results.note_doing(tmp_path / "runs" / other.runs[0].run_id, "measures")  # it was killed
    fresh = Ledger(tmp_path, other)
    fresh.open([], "never")
    assert all(path.exists() for path in mine)
    assert not (tmp_path / "runs.parquet").exists()
    assert [path.name for path in (tmp_path / "runs" / other.runs[0].run_id).iterdir()] == ["plot.png"]


def test_checkpoints_stay_for_runs_that_are_not_done(tmp_path: Path) -> None:
    plan = make_plan()
    done, undone, *_ = plan.runs
    write_result(tmp_path, done)
    places = [results.checkpoint(tmp_path / "runs" / run.run_id) for run in (done, undone)]
    for path in places:
        path.parent.mkdir(parents=True)
        path.touch()
    Ledger(tmp_path, plan).tidy()
    assert [path.parent.is_dir() for path in places] == [False, True]


def test_a_description_cannot_name_runs_outside_of_the_directory(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "out", make_plan())
    ledger.open([], "auto")
    ledger.release()
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "result.json").write_text("somebody's")
    content = yaml.safe_load(ledger.sweep_file.read_text())
    content |= {
        "kept": ["../../beside", 3, None],
        "runs": [*content["runs"], {"run_id": "../../beside"}, "../../beside"],
    }
    ledger.sweep_file.write_text(yaml.safe_dump(content))
    assert not [path for path in Ledger(tmp_path / "out", make_plan()).named() if "beside" in path.parts]
    Ledger(tmp_path / "out", make_plan()).open([], "never")
    assert (tmp_path / "beside" / "result.json").read_text() == "somebody's"


def test_resume_never_removes_nothing_while_another_sweep_runs(tmp_path: Path) -> None:
    plan = make_plan()
    running = Ledger(tmp_path, plan)
    running.open([], "auto")
    write_result(tmp_path, plan.runs[0])
    with pytest.raises(ConfigError, match="another sweep is running"):
        Ledger(tmp_path, plan).open([], "never")
    assert running.done(plan.runs[0])


def _close(ledger: Ledger) -> None:
    """Let go of the directory, as the end of a process does."""
    ledger.release()


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
    _close(ledger)
    of_run = ledger.run_directory(plan.runs[0])
    with atomic_path(of_run / "result.json") as unfinished:
        shutil.copy(of_run / "result.json", unfinished)
    left = [unfinished, ledger.directory / ".runs.parquet.a1_b2c3d"]
    kept = [ledger.directory / "sweep.yaml", of_run / "result.json", of_run / ".hidden", ledger.directory / ".mine"]
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
    _close(ledger)
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
    assert {run.run_id for run in missing(ledger, "auto").todo[:2]} == {first.run_id, second.run_id}
    mask.save(ledger.directory / "runs" / first.run_id / "mask.safetensors", {})
    write_result(ledger.directory, first)
    write_result(ledger.directory, plan.runs[1])
    assert missing(Ledger(tmp_path / "out", plan), "auto").todo == [plan.runs[0]]
    assert len(missing(Ledger(tmp_path / "out", plan), "never").todo) == 4


def test_a_source_that_is_done_in_a_sweep_beside_this_one_is_used_from_there(tmp_path: Path, mask: Mask) -> None:
    plan = make_restricted_plan()
    first, second = plan.sources
    for place in ("other", "train/x"):
        mask.save(tmp_path / place / "runs" / first.run_id / "mask.safetensors", {})
        write_result(tmp_path / place, first, status="done" if place == "train/x" else "failed")
    ledger = Ledger(tmp_path / "out", plan)
    assert ledger.source_directory(first.run_id) == tmp_path / "train" / "x" / "runs" / first.run_id
    assert ledger.source_directory(second.run_id) == tmp_path / "out" / "runs" / second.run_id
    assert first not in missing(ledger, "never").todo
    assert second in missing(ledger, "auto").todo


def test_what_keeps_a_source_from_being_used_is_said(tmp_path: Path, mask: Mask) -> None:
    plan = make_restricted_plan()
    ledger = Ledger(tmp_path / "out", plan)
    (source, _) = plan.sources

    def problem() -> str | None:
        return Ledger(tmp_path / "out", plan).source_problem(source.run_id)  # which looks at what is done once

    path = ledger.directory / "runs" / source.run_id / "mask.safetensors"
    assert problem() == "ended without a result"
    write_result(ledger.directory, source, status="failed", error="no memory")
    assert problem() == "failed: no memory"
    write_result(ledger.directory, source)
    assert "has no mask to use: subnetwork.mask: " in str(problem())
    (mask & ~mask).save(path, {})
    write_result(ledger.directory, source)
    assert str(problem()).endswith("is an empty mask: nothing would be trained")
    mask.save(path, {})
    assert "is damaged: its mask.safetensors has" in str(problem())
    write_result(ledger.directory, source)
    assert problem() is None
