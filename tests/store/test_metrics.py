"""The metrics of a step."""

from __future__ import annotations

import dataclasses

from subnetray.job import recorder
from subnetray.store import columns
from subnetray.store.metrics import METRICS, key
from subnetray.subnetwork.update.dynamics import Step


def test_every_metric_that_a_run_writes_is_declared_and_no_other() -> None:
    written = {*recorder._NAMES.values(), *(field.name for field in dataclasses.fields(Step))}
    assert {metric.name for metric in METRICS} == written | {"seconds", "tokens_per_s"}


def test_no_two_numbers_of_a_run_have_one_key() -> None:
    """Steps, rows and W&B's own summaries share one name space: the later would replace the earlier."""
    keys = [metric.key for metric in METRICS]
    keys += [column.key for column in columns.of_runs(["method"], [1e-5])]
    assert len(set(keys)) == len(keys)


def test_every_number_has_a_section() -> None:
    assert key("step") == "step"
    assert key("loss") == "train/loss"
    assert key("of a later version") == "train/of a later version"
    numbers = [each for each in columns.of_runs(["method"], [1e-5]) if each.kind != columns.TEXT]
    assert {each.name for each in numbers if not each.section} == {"seed", "lr"}
    assert {each.section for each in numbers} == {"", "eval", "final"}
