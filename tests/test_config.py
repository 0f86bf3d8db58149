"""Ranges are checked where a config is made, each mistake is one sentence, and configs survive serialisation."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.config import (
    ALGORITHMS,
    DPO,
    GRPO,
    KTO,
    ORPO,
    RLOO,
    SFT,
    Algorithm,
    ArithmeticTask,
    Checkpointing,
    Cluster,
    ConfigError,
    DatasetTask,
    EmbeddedModel,
    Evaluation,
    Measurement,
    PretrainedModel,
    ReasoningGymTask,
    Rollout,
    RunConfig,
    SimPO,
    SmolLM2Model,
    Subnetwork,
    SweepConfig,
    Tracking,
)

BAD: list[tuple[type, dict[str, Any], str]] = [
    (EmbeddedModel, {"hidden_size": 0}, "model.hidden_size"),
    (EmbeddedModel, {"hidden_size": 130}, "model.hidden_size"),
    (EmbeddedModel, {"kv_heads": 3}, "model.heads"),
    (EmbeddedModel, {"pretrain_steps": -1}, "model.pretrain_steps"),
    (EmbeddedModel, {"sft_steps": -1}, "model.sft_steps"),
    (EmbeddedModel, {"pretrain_lr": 0.0}, "model.pretrain_lr"),
    (EmbeddedModel, {"sft_lr": float("nan")}, "model.sft_lr"),
    (PretrainedModel, {"name": "x", "path": ""}, "model.path"),
    (ArithmeticTask, {"operators": ()}, "task.operators"),
    (ArithmeticTask, {"operators": ("+", "/")}, "task.operators"),
    (ArithmeticTask, {"max_left": 0}, "task.max_left"),
    (ArithmeticTask, {"max_right": 1000}, "task.max_right"),
    (ArithmeticTask, {"size": 0}, "task.size"),
    (ArithmeticTask, {"data_seed": -1}, "task.data_seed"),
    (ReasoningGymTask, {"size": 0}, "task.size"),
    (ReasoningGymTask, {"generator": ""}, "task.generator"),
    (ReasoningGymTask, {"parameters": {"seed": 1}}, "task.parameters"),
    (ReasoningGymTask, {"data_seed": -1}, "task.data_seed"),
    (DatasetTask, {"name": "x", "path": ""}, "task.path"),
    (DatasetTask, {"name": "x", "path": "a", "reward": "function"}, "task.reward"),
    (DatasetTask, {"name": "x", "path": "a", "reward": "os.system('x').y"}, "task.reward"),
    (DatasetTask, {"name": "x", "path": "a", "reward": "exact"}, "task.reference"),
    (DatasetTask, {"name": "x", "path": "a", "rejected": "b"}, "task.gold"),
    (DatasetTask, {"name": "x", "path": "a", "timeout_s": 0.0}, "task.timeout_s"),
    (Algorithm, {"lr": 0.0}, "algorithm.lr"),
    (Algorithm, {"lr": float("inf")}, "algorithm.lr"),
    (Algorithm, {"schedule": "step"}, "algorithm.schedule"),
    (Algorithm, {"warmup_steps": -1}, "algorithm.warmup_steps"),
    (Algorithm, {"weight_decay": -0.1}, "algorithm.weight_decay"),
    (Algorithm, {"optimizer": "lion"}, "algorithm.optimizer"),
    (Algorithm, {"max_grad_norm": 0.0}, "algorithm.max_grad_norm"),
    (Algorithm, {"steps": 0}, "algorithm.steps"),
    (Algorithm, {"batch_size": 0}, "algorithm.batch_size"),
    (GRPO, {"name": "sft"}, "algorithm.name"),
    (GRPO, {"group_size": 1}, "algorithm.group_size"),
    (GRPO, {"group_size": 5}, "algorithm.batch_size"),
    (GRPO, {"beta": -1.0}, "algorithm.beta"),
    (GRPO, {"epsilon": 0.0}, "algorithm.epsilon"),
    (GRPO, {"loss": "ppo"}, "algorithm.loss"),
    (GRPO, {"lr": -1.0}, "algorithm.lr"),
    (SFT, {"name": "dpo"}, "algorithm.name"),
    (SFT, {"data": "on_policy"}, "algorithm.data"),
    (SFT, {"samples_per_prompt": 0}, "algorithm.samples_per_prompt"),
    (DPO, {"name": "grpo"}, "algorithm.name"),
    (DPO, {"data": "gold"}, "algorithm.data"),
    (Subnetwork, {"mask": ""}, "subnetwork.mask"),
    (Subnetwork, {"clip": "never"}, "subnetwork.clip"),
    (DPO, {"samples_per_prompt": 1}, "algorithm.samples_per_prompt"),
    (DPO, {"beta": 0.0}, "algorithm.beta"),
    (ORPO, {"name": "dpo"}, "algorithm.name"),
    (ORPO, {"data": "gold"}, "algorithm.data"),
    (ORPO, {"samples_per_prompt": 1}, "algorithm.samples_per_prompt"),
    (ORPO, {"beta": 0.0}, "algorithm.beta"),
    (SimPO, {"name": "cpo"}, "algorithm.name"),
    (SimPO, {"samples_per_prompt": 1}, "algorithm.samples_per_prompt"),
    (SimPO, {"beta": float("inf")}, "algorithm.beta"),
    (SimPO, {"gamma": -0.1}, "algorithm.gamma"),
    (KTO, {"name": "dpo"}, "algorithm.name"),
    (KTO, {"data": "rejection"}, "algorithm.data"),
    (KTO, {"beta": 0.0}, "algorithm.beta"),
    (KTO, {"desirable_weight": 0.0}, "algorithm.desirable_weight"),
    (KTO, {"undesirable_weight": float("nan")}, "algorithm.undesirable_weight"),
    (KTO, {"batch_size": 1}, "algorithm.batch_size"),
    (RLOO, {"name": "grpo"}, "algorithm.name"),
    (RLOO, {"group_size": 1}, "algorithm.group_size"),
    (RLOO, {"group_size": 5}, "algorithm.batch_size"),
    (RLOO, {"beta": -1.0}, "algorithm.beta"),
    (RLOO, {"epsilon": 0.0}, "algorithm.epsilon"),
    (Rollout, {"name": "sglang"}, "rollout.name"),
    (Rollout, {"engines": 0}, "rollout.engines"),
    (Rollout, {"dtype": "bf16"}, "rollout.dtype"),
    (Rollout, {"kv_cache_mib": 0}, "rollout.kv_cache_mib"),
    (Rollout, {"max_model_len": 1}, "rollout.max_model_len"),
    (Rollout, {"max_new_tokens": 64}, "rollout.max_new_tokens"),
    (Rollout, {"max_new_tokens": 0}, "rollout.max_new_tokens"),
    (Rollout, {"gpus_per_engine": 2}, "rollout.gpus_per_engine"),
    (Rollout, {"gpus_per_engine": 1, "tensor_parallel": 2}, "rollout.gpus_per_engine"),
    (Rollout, {"tensor_parallel": 2}, "rollout.tensor_parallel"),
    (Rollout, {"tensor_parallel": 0}, "rollout.tensor_parallel"),
    (Rollout, {"staleness": 3}, "rollout.staleness"),
    (Rollout, {"name": "hf", "tensor_parallel": 2, "gpus_per_engine": 2}, "rollout.tensor_parallel"),
    (Rollout, {"gpu_memory_utilization": 1.1}, "rollout.gpu_memory_utilization"),
    (Rollout, {"temperature": 0.0}, "rollout.temperature"),
    (Rollout, {"timeout_s": 0.0}, "rollout.timeout_s"),
    (Rollout, {"replica": -1}, "rollout.replica"),
    (Evaluation, {"prompts": 0}, "evaluation.prompts"),
    (Measurement, {"every": 0}, "measurement.every"),
    (Measurement, {"tolerances": ()}, "measurement.tolerances"),
    (Measurement, {"tolerances": (0.0, -1e-9)}, "measurement.tolerances"),
    (Measurement, {"early": (0,)}, "measurement.early"),
    (Measurement, {"early": (5, 5)}, "measurement.early"),
    (Measurement, {"early": (5, 1)}, "measurement.early"),
    (Cluster, {"workers": -1}, "cluster.workers"),
    (Cluster, {"sharding": "some"}, "cluster.sharding"),
    (Cluster, {"sharding": "full", "workers": 1}, "cluster.workers"),
    (Cluster, {"cpus_per_run": 0.0}, "cluster.cpus_per_run"),
    (Cluster, {"max_concurrent": 0}, "cluster.max_concurrent"),
    (Cluster, {"max_failures": -1}, "cluster.max_failures"),
    (Cluster, {"memory_gib_per_run": 0.0}, "cluster.memory_gib_per_run"),
    (Checkpointing, {"every_steps": -1}, "checkpoint.every_steps"),
    (Checkpointing, {"every_minutes": -0.5}, "checkpoint.every_minutes"),
    (Checkpointing, {"every_minutes": math.inf}, "checkpoint.every_minutes"),
    (Tracking, {"mode": "on"}, "tracking.mode"),
    (Tracking, {"project": ""}, "tracking.project"),
]


@pytest.mark.parametrize(("schema", "values", "key"), BAD)
def test_a_value_out_of_range_is_one_sentence_about_its_key(schema: type, values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} must be .*, not .*$"):
        schema(**values)


@pytest.mark.parametrize(
    "config",
    [
        # The ends of the ranges are in them.
        EmbeddedModel(layers=1, pretrain_steps=0),
        ArithmeticTask(max_left=1, max_right=999),
        GRPO(group_size=2, batch_size=2, steps=1, max_grad_norm=None),
        SFT(samples_per_prompt=1, weight_decay=0.0),
        DPO(samples_per_prompt=2),
        SimPO(gamma=0.0),
        KTO(batch_size=2),
        RLOO(group_size=2, batch_size=2, beta=0.0),
        Rollout(max_model_len=2, max_new_tokens=1, gpu_memory_utilization=1.0),
        Measurement(every=1, tolerances=(0.0,)),
        Cluster(workers=0, max_concurrent=1, max_failures=0),
    ],
)
def test_configs_are_values(config: Any) -> None:
    assert dataclasses.replace(config) == config
    assert hash(dataclasses.replace(config)) == hash(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "other"


def test_lists_become_tuples() -> None:
    operators: Any = ["+", "*"]
    tolerances: Any = [0.0, 1e-5]
    assert ArithmeticTask(operators=operators) == ArithmeticTask(operators=("+", "*"))
    assert Measurement(tolerances=tolerances) == Measurement(tolerances=(0.0, 1e-5))


def make_run(**values: Any) -> RunConfig:
    parts: dict[str, Any] = {
        "model": EmbeddedModel(),
        "task": ArithmeticTask(),
        "algorithm": GRPO(),
        "rollout": Rollout(),
        "evaluation": Evaluation(),
        "measurement": Measurement(),
    }
    return RunConfig(**parts | values)


@given(
    model=st.sampled_from(
        [
            EmbeddedModel(sft_steps=3),
            PretrainedModel("a", "b/c"),
            PretrainedModel("a", "b/c", revision="main"),
            SmolLM2Model(),
        ]
    ),
    algorithm=st.sampled_from(
        [
            GRPO(max_grad_norm=None),
            SFT(data="rejection"),
            DPO(lr=3e-7),
            ORPO(beta=0.5),
            SimPO(gamma=0.5),
            KTO(desirable_weight=2.0),
            RLOO(group_size=4),
        ]
    ),
    task=st.sampled_from(
        [
            ArithmeticTask(operators=("*", "-")),
            ReasoningGymTask(parameters={"min_terms": 2}),
            DatasetTask("x", "a/b", gold="answer", reward="number"),
        ]
    ),
    tolerances=st.lists(st.floats(0, 1), min_size=1).map(tuple),
    precision=st.sampled_from(RunConfig.PRECISIONS),
    seed=st.integers(0, 2**31 - 1),
    subnetwork=st.sampled_from([Subnetwork(), Subnetwork(mask="a/mask.safetensors", clip="after")]),
)
def test_a_run_survives_json(
    model: Any,
    algorithm: Algorithm,
    task: Any,
    tolerances: tuple[float, ...],
    precision: str,
    seed: int,
    subnetwork: Subnetwork,
) -> None:
    config = make_run(
        model=model,
        task=task,
        algorithm=algorithm,
        measurement=Measurement(tolerances=tolerances),
        precision=precision,
        seed=seed,
        subnetwork=subnetwork,
    )
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_algorithms_are_found_by_their_own_name() -> None:
    assert {name: schema().name for name, schema in ALGORITHMS.items()} == {name: name for name in ALGORITHMS}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"precision": "fp16"}, "precision"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"algorithm": GRPO(steps=4), "measurement": Measurement(early=(1, 5))}, "measurement.early"),
    ],
)
def test_a_run_checks_what_is_not_of_one_section(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key} must be "):
        make_run(**values)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        *(({"out": ""}, "out"), ({"cache": ""}, "cache"), ({"out": "s3://b/x"}, "out"), ({"resume": "x"}, "resume")),
        (
            {"checkpoint": Checkpointing(every_steps=5), "cluster": Cluster(workers=2)},
            "checkpoint.every_steps and checkpoint.every_minutes",
        ),
    ],
)
def test_a_sweep_checks_where_and_how(values: dict[str, Any], key: str) -> None:
    fine: dict[str, Any] = {
        "run": make_run(),
        "grid": None,
        "cluster": Cluster(),
        "tracking": Tracking(),
        "out": None,
        "cache": None,
        "dry_run": False,
        "resume": "auto",
    }
    SweepConfig(**fine)
    with pytest.raises(ConfigError, match=f"^{key} must be "):
        SweepConfig(**fine | values)
