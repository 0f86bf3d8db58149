"""Run identity: everything that decides a run's bytes changes it, nothing else does."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from subnetray.config import (
    ALGORITHMS,
    DPO,
    GRPO,
    KTO,
    ORPO,
    PPO,
    PRIME,
    RAFT,
    RLOO,
    SFT,
    Algorithm,
    ArithmeticTask,
    EmbeddedModel,
    Evaluation,
    Measurement,
    PretrainedModel,
    Rollout,
    RunConfig,
    SimPO,
    Subnetwork,
)
from subnetray.grid.identity import _content, run_id
from subnetray.subnetwork import Mask

LABELS = {("model", "name"), ("task", "name")}
RESOURCES = {
    ("rollout", name)
    for name in ("engines", "cpus_per_engine", "gpus_per_engine", "kv_cache_mib", "gpu_memory_utilization", "timeout_s")
}
# Another valid value, where adding one to the present value gives none.
OTHER: dict[tuple[str, str], Any] = {
    ("task", "size"): 100,
    ("model", "hidden_size"): 256,
    ("model", "heads"): 2,
    ("model", "kv_heads"): 1,
    ("task", "operators"): ("*",),
    ("algorithm", "schedule"): "linear",
    ("algorithm", "optimizer"): "sgd",
    ("algorithm", "max_grad_norm"): None,
    ("algorithm", "batch_size"): 64,
    ("algorithm", "group_size"): 2,
    ("algorithm", "micro_batch_size"): 32,
    ("algorithm", "kl"): "loss",
    ("algorithm", "gamma"): 0.5,
    ("algorithm", "gae_lambda"): 0.5,
    ("algorithm", "accuracy_low"): 0.5,
    ("algorithm", "accuracy_high"): 0.5,
    ("algorithm", "process_norm"): "none",
    ("algorithm", "leave_one_out"): "paper",
    ("algorithm", "prm_update"): "none",
    ("rollout", "name"): "hf",
    ("rollout", "dtype"): "float32",
    ("rollout", "gpu_memory_utilization"): 0.5,
    ("measurement", "tolerances"): (0.0,),
    ("measurement", "early"): (5,),
}
UNALTERABLE = {("algorithm", "name"), ("rollout", "tensor_parallel")}  # by themselves
DATA = {SFT: "rejection"}  # the others have it off_policy
LOSS = {GRPO: "grpo", DPO: "sigmoid_norm"}


def make(algorithm: Algorithm | None = None, **changes: Any) -> RunConfig:
    config = RunConfig(
        model=EmbeddedModel(sft_steps=10),
        task=ArithmeticTask(max_left=9, max_right=9),
        algorithm=algorithm or GRPO(),
        rollout=Rollout(),
        evaluation=Evaluation(),
        measurement=Measurement(),
    )
    return dataclasses.replace(config, **changes)


def fields() -> Iterator[tuple[RunConfig, str, str]]:
    for algorithm in (
        GRPO(),
        RLOO(),
        RAFT(),
        PPO(),
        PRIME(),
        SFT(),
        *(schema(batch_size=128) for schema in (DPO, ORPO, SimPO, KTO)),
    ):
        config = make(algorithm)
        parts = ("model", "task", "algorithm", "rollout", "evaluation", "measurement")
        for part in parts if isinstance(algorithm, GRPO) else ("algorithm",):
            for field in dataclasses.fields(getattr(config, part)):
                if (part, field.name) not in UNALTERABLE:
                    yield config, part, field.name


def altered(config: RunConfig, part: str, name: str) -> RunConfig:
    section = getattr(config, part)
    value = getattr(section, name)
    if (part, name) == ("algorithm", "data"):
        other = DATA.get(type(section), "off_policy")
    elif (part, name) == ("algorithm", "loss"):
        other = LOSS[type(section)]
    elif (part, name) in OTHER:
        other = OTHER[part, name]
    else:
        other = f"{value}x" if isinstance(value, str) else value + 1
    assert other != value
    return dataclasses.replace(config, **{part: dataclasses.replace(section, **{name: other})})


@pytest.mark.parametrize(("config", "part", "name"), [pytest.param(*case, id=".".join(case[1:])) for case in fields()])
def test_a_field_counts_unless_it_is_a_label_or_a_resource(config: RunConfig, part: str, name: str) -> None:
    same = run_id(config, 1) == run_id(altered(config, part, name), 1)
    assert same == ((part, name) in LABELS | RESOURCES)


def test_what_is_outside_the_sections_counts() -> None:
    ids = {run_id(make(), 1), run_id(make(seed=1), 1), run_id(make(precision="bf16"), 1), run_id(make(), 2)}
    assert len(ids | {run_id(make(), 2, sharded=True)}) == 5


def test_staleness_counts_where_rollouts_are_drawn_ahead() -> None:
    for algorithm, counts in ((GRPO(), True), (PRIME(), True), (SFT(), False), (DPO(), False)):
        stale = make(algorithm, rollout=Rollout(staleness=1))
        assert (run_id(stale, 1) != run_id(make(algorithm), 1)) == counts


def test_an_engine_in_parts_counts() -> None:
    parted = Rollout(tensor_parallel=2, gpus_per_engine=2)
    assert run_id(make(rollout=parted), 1) != run_id(make(rollout=Rollout(gpus_per_engine=1)), 1) == run_id(make(), 1)


def test_algorithms_with_the_same_settings_differ() -> None:
    assert len({run_id(make(algorithm), 1) for algorithm in (schema() for schema in ALGORITHMS.values())}) == len(
        ALGORITHMS
    )


def test_a_directory_counts_by_its_content_not_its_place(tmp_path: Any) -> None:
    ids = []
    for name, content in (("one", b"1"), ("two", b"1"), ("three", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(content)
        ids.append(run_id(make(model=PretrainedModel(name=name, path=str(tmp_path / name))), 1))
    assert ids[0] == ids[1] != ids[2]


def test_a_mask_counts_by_its_content_and_only_where_there_is_one(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "two", "three")]
    for path, bits in zip(paths, ([True, False], [True, False], [False, True]), strict=True):
        Mask.from_bools({"w": torch.tensor(bits)}).save(path, {"run_id": path.name})
    one, two, three = (run_id(make(subnetwork=Subnetwork(mask=str(path))), 1) for path in paths)
    after = run_id(make(subnetwork=Subnetwork(mask=str(paths[0]), clip="after")), 1)
    assert one == two
    assert len({run_id(make(), 1), one, three, after}) == 4
    assert run_id(make(subnetwork=Subnetwork(clip="after")), 1) == run_id(make(), 1)


def test_early_steps_count_only_where_there_are_any() -> None:
    """The ids of runs without are those of before there was such a thing."""
    assert set(_content(make(), 1)["measurement"]) == {"every", "tolerances"}
    ids = [run_id(make(measurement=Measurement(early=steps)), 1) for steps in ((), (1,), (1, 5))]
    assert len(set(ids)) == 3
    restricted = [
        make(measurement=Measurement(early=steps), subnetwork=Subnetwork(mask="random")) for steps in ((), (1,))
    ]
    assert len({run_id(config, 1, source="0123456789ab") for config in restricted}) == 1  # keeps none


def test_ranks_count_only_where_another_number_of_them_is_asked_for() -> None:
    """The ids of runs are those of before ranks were taken."""
    ids = {run_id(make(measurement=Measurement(ranks=count)), 1) for count in (Measurement.ranks, 0, 32)}
    assert run_id(make(), 1) in ids
    assert len(ids) == 3


def test_identity_survives_serialisation() -> None:
    config = make(DPO(lr=1e-6), seed=7)
    backwards = dict(reversed(json.loads(json.dumps(config.to_dict())).items()))
    again = RunConfig.from_dict(backwards)
    assert again == config
    assert run_id(again, 1) == run_id(config, 1)


def test_processes_agree() -> None:
    script = "from tests.grid.test_identity import make, run_id; import sys; sys.stdout.write(run_id(make(seed=3), 2))"
    ids = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert ids == {run_id(make(seed=3), 2)}
    assert all(len(each) == 12 and int(each, 16) >= 0 for each in ids)
