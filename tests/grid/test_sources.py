"""Runs that take their mask from another run: how the source is made of a cell, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from subnetray.config import DPO, GRPO, SFT, ConfigError, Subnetwork
from subnetray.config.compose import Composer
from subnetray.grid import Plan, plan, run_id
from subnetray.store import results
from subnetray.subnetwork import Mask

GRID = """
name: mine
seeds: [0, 1]
overrides: [algorithm.steps=6, algorithm.batch_size=32]
factors:
  method:
    baseline: grpo
    levels:
      grpo: [algorithm=grpo, algorithm.beta=0.01]
      dpo: [algorithm=dpo, algorithm.beta=0.5]
  learning_rate:
    baseline: "1e-4"
    levels: {"1e-4": [algorithm.lr=1e-4], "1e-5": [algorithm.lr=1e-5]}
  mask:
    baseline: full
    levels:
      full: []
      oracle: [subnetwork.mask=oracle]
      random: [subnetwork.mask=random]
      other_seed: [subnetwork.mask=oracle, subnetwork.source_seed=1]
      of_sft: [subnetwork.mask=oracle, "subnetwork.source=['algorithm=sft']"]
      early: [subnetwork.mask=gradient, subnetwork.at=2]
crossed:
  - {method: [grpo, dpo], mask: [full, oracle, random, other_seed, of_sft, early]}
  - {learning_rate: ["1e-5"], mask: [of_sft]}
"""


@pytest.fixture
def own(tmp_path: Path) -> Composer:
    (tmp_path / "conf" / "grid").mkdir(parents=True)
    (tmp_path / "conf" / "grid" / "mine.yaml").write_text("# @package grid\n" + GRID)
    return Composer(tmp_path / "conf")


@pytest.fixture
def planned(own: Composer) -> Plan:
    return plan(own, ["+grid=mine"])[1]


def by_cell(planned: Plan) -> dict[tuple[str, str, str, int], str | None]:
    return {
        (run.cell["method"], run.cell["mask"], run.cell["learning_rate"], run.seed): run.source for run in planned.runs
    }


def test_a_source_is_the_cell_itself_unrestricted_and_shared(planned: Plan) -> None:
    ids = {(run.cell["method"], run.cell["mask"], run.seed): run.run_id for run in planned.runs[: 2 * 12]}
    sources = by_cell(planned)
    for method in ("grpo", "dpo"):
        for seed in (0, 1):
            assert sources[method, "full", "1e-4", seed] is None
            for arm in ("oracle", "random"):
                assert sources[method, arm, "1e-4", seed] == ids[method, "full", seed]
        assert sources[method, "other_seed", "1e-4", 0] == ids[method, "full", 1]
        assert sources[method, "other_seed", "1e-4", 1] not in ids.values()


def test_sources_that_are_no_cells_are_planned_once(planned: Plan) -> None:
    own, others = {run.run_id for run in planned.runs}, {run.run_id: run for run in planned.sources}
    assert {run.source for run in planned.runs} - {None} <= own | others.keys()
    assert not own & others.keys()
    configs = [(run.config.algorithm.name, run.config.algorithm.lr, run.seed) for run in others.values()]
    # Of another seed for grpo and dpo, of sft at two rates, and with the scores of step 2 for grpo and dpo.
    assert sorted(configs) == sorted(
        [("grpo", 1e-4, 2), ("dpo", 1e-4, 2)]
        + [("sft", lr, seed) for lr in (1e-4, 1e-5) for seed in (0, 1)]
        + [(name, 1e-4, seed) for name in ("grpo", "dpo") for seed in (0, 1)]
    )
    assert all(run.config.subnetwork == Subnetwork() for run in others.values())
    assert all(run.run_id == run_id(run.config, 1) for run in others.values())
    early = [run.config.measurement.early for run in others.values() if run.config.algorithm.name != "sft"]
    assert sorted(early) == [(), (), (2,), (2,), (2,), (2,)]


def test_another_algorithm_has_what_all_share_and_what_the_grid_sets(planned: Plan) -> None:
    """... but not GRPO's beta, nor DPO's: the grid's own size is that of every cell."""
    sources = {run.run_id: run.config for run in planned.sources}
    of_sft = [run for run in planned.runs if run.cell["mask"] == "of_sft"]
    assert len(of_sft) == 6
    for run in of_sft:
        assert run.source is not None
        assert sources[run.source].algorithm == SFT(lr=run.config.algorithm.lr, steps=6, batch_size=32)


def test_what_the_command_line_chooses_itself_is_left_behind_with_the_choice() -> None:
    words = ["algorithm=dpo", "algorithm.beta=0.5", "algorithm.lr=1e-5", "subnetwork.mask=oracle"]
    *_, planned = plan(Composer(), ["+grid=single", *words, "subnetwork.source=['algorithm=grpo']"])
    assert planned.sources[0].config.algorithm == GRPO(lr=1e-5)
    *_, planned = plan(Composer(), ["+grid=single", *words, "subnetwork.source=['algorithm.lr=1e-4']"])
    assert planned.sources[0].config.algorithm == DPO(beta=0.5, lr=1e-4)
    *_, planned = plan(Composer(), ["+grid=single", *words, "subnetwork.source=['task=multiplication']"])
    assert planned.sources[0].config.task.operators == ("*",)
    assert planned.sources[0].config.algorithm == DPO(beta=0.5, lr=1e-5)


def test_arm_step_source_and_clipping_count_in_the_identity(planned: Plan) -> None:
    config = planned.runs[0].config
    variants = [
        (Subnetwork(mask="oracle"), "0" * 12),
        (Subnetwork(mask="oracle"), "1" * 12),
        (Subnetwork(mask="random"), "0" * 12),
        (Subnetwork(mask="random", clip="after"), "0" * 12),
        (Subnetwork(mask="gradient", at=1), "0" * 12),
        (Subnetwork(mask="gradient", at=2), "0" * 12),
        (Subnetwork(mask="snip", at=2), "0" * 12),
    ]
    ids = {run_id(dataclasses.replace(config, subnetwork=each), 1, source) for each, source in variants}
    assert len(ids | {run_id(config, 1)}) == len(variants) + 1
    # How the source is written down does not count: what it is does.
    same = Subnetwork(mask="oracle", source=("algorithm.lr=1e-4",), source_seed=0)
    assert run_id(dataclasses.replace(config, subnetwork=same), 1, "0" * 12) in ids


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["mask=orcale"],
            "subnetwork.mask: orcale cannot be read (No such file or directory): name a mask.safetensors",
        ),
        (["mask=orcale"], "or an arm (oracle, random, random_per_tensor, ulp_matched, complement,"),
        (["mask=0123456789ab"], "subnetwork.mask: there is no finished run 0123456789ab in "),
        (["mask=gradient"], "subnetwork.at must be a step of the source with the arm gradient, not None"),
        (["mask=gradient", "at=0"], "subnetwork.at must be a finite number >= 1, not 0"),
        (["mask=gradient", "at=7"], "subnetwork.at must be a step of the source, from 1 to 6, not 7"),
        (["mask=random", "at=2"], "subnetwork.at must be left alone with the arm random, which goes by no scores"),
        (["at=2"], "subnetwork.at needs an arm: set subnetwork.mask to one of oracle, random,"),
        (["source_seed=1"], "subnetwork.source_seed needs an arm"),
        (["mask=random", "source_seed=-1"], "subnetwork.source_seed must be a finite number >= 0, not -1"),
        (["mask=m.safetensors", "source=['algorithm=dpo']"], "subnetwork.source needs an arm"),
        (["mask=oracle", "source=['algorithm=nope']"], "subnetwork.source: algorithm=nope is unknown: choose one of"),
        (
            ["mask=oracle", "source=['algorithm.nope=1']"],
            "subnetwork.source: it sets algorithm.nope, a key that it does not",
        ),
        (["mask=oracle", "source=['algorithm.lr=x']"], "subnetwork.source: algorithm.lr must be a number, not 'x'"),
        (["mask=oracle", "source=['seed=1']"], "subnetwork.source must not set seed: subnetwork.source_seed"),
        (["mask=oracle", "source=['subnetwork.mask=x']"], "subnetwork.source must set keys of a run (model, task,"),
        (["mask=oracle", "source=['cluster=gpu']"], "subnetwork.source must set keys of a run (model, task,"),
        (["mask=oracle", "source=['nothing']"], "subnetwork.source: 'nothing' is no override"),
        (["mask=oracle", "source=['model=tiny_sft']"], "subnetwork.source must leave model alone"),
        (["mask=adam_v", "at=1", "source=['algorithm.optimizer=sgd']"], "subnetwork.mask=adam_v needs a source with"),
        (["mask=oracle", "source=['algorithm.warmup_steps=6']"], "subnetwork.source: algorithm.warmup_steps must be"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], sentence: str) -> None:
    overrides = ["algorithm.steps=6", "algorithm.batch_size=32", *(f"subnetwork.{word}" for word in words)]
    with pytest.raises(ConfigError) as caught:
        plan(Composer(), ["+grid=single", *overrides])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def write_run(directory: Path, mask: Mask, status: str = "done") -> None:
    directory.mkdir(parents=True)
    mask.save(directory / "mask.safetensors", {})
    results.write(directory, {"run_id": directory.name, "status": status, "error": None})


@pytest.mark.parametrize("place", ["outputs/other/runs", "outputs/train/0123456789ab/runs"])
def test_a_run_s_id_stands_for_its_mask(tmp_path: Path, place: str) -> None:
    mask = Mask.from_bools({"w": torch.tensor([True, False])})
    write_run(tmp_path / "outputs" / "a" / "runs" / "0123456789ab", ~mask, status="failed")
    write_run(tmp_path / place / "0123456789ab", mask)
    file = tmp_path / place / "0123456789ab" / "mask.safetensors"
    for out in ("outputs/mine", "outputs/train/mine"):
        words = ["+grid=single", f"out={tmp_path / out}"]
        _, (planned) = plan(Composer(), [*words, "subnetwork.mask=0123456789ab"])
        assert planned.runs[0].config.subnetwork.file == file
        assert planned.sources == ()
        _, same = plan(Composer(), [*words, f"subnetwork.mask={file}"])
        assert planned.runs[0].run_id == same.runs[0].run_id


def test_the_subnetwork_grid_has_every_arm_beside_the_full_runs_that_they_are_made_of() -> None:
    _, planned = plan(Composer(), ["+grid=subnetwork"])
    full = {(run.cell["method"], run.seed): run.run_id for run in planned.runs if run.cell["mask"] == "full"}
    assert len(planned.runs) == 72
    assert {run.seed for run in planned.sources} == {3}
    assert len(planned.sources) == len({run.config.algorithm.name for run in planned.sources}) == 3
    for run in planned.runs:
        if run.cell["mask"] not in ("full", "other_seed"):
            assert run.source == full[run.cell["method"], run.seed]


def test_the_transfer_grid_needs_no_run_but_its_own() -> None:
    _, planned = plan(Composer(), ["+grid=transfer"])
    full = {(run.cell["method"], run.seed): run.run_id for run in planned.runs if run.cell["mask"] == "full"}
    assert len(planned.runs) == 72
    assert planned.sources == ()
    for run in planned.runs:
        if run.cell["mask"].startswith("of_"):
            assert run.source == full[run.cell["mask"].removeprefix("of_"), run.seed]
