"""What is written while a run trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from subnetray.algorithms.shared.setting import RunError
from subnetray.job.recorder import Recorder
from subnetray.subnetwork.weights import named_weights


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])


def _recorder(path: Path, model: torch.nn.Module, every: int = 1) -> Recorder:
    init = {name: tensor.clone() for name, tensor in named_weights(model, torch.bfloat16).items()}
    return Recorder(path, model, init, every, write=True)


def _step(recorder: Recorder, arguments: TrainingArguments, step: int, last: int, **logs: float) -> None:
    state, control = TrainerState(global_step=step, max_steps=last), TrainerControl()
    recorder.on_step_end(arguments, state, control)
    recorder.on_log(arguments, state, control, logs={"loss": 0.5, "learning_rate": 0.1, "grad_norm": 1.0} | logs)


def test_density_counts_what_a_bf16_export_shows(tmp_path: Path, arguments: TrainingArguments) -> None:
    model = torch.nn.Linear(4, 2, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)
    recorder = _recorder(tmp_path / "metrics.jsonl", model)
    recorder.on_train_begin()
    with torch.no_grad():
        model.weight[0, 0] += 1.0  # visible
        model.weight[0, 1] += 1e-4  # below half an ULP of 1.0 in bf16
    _step(recorder, arguments, 1, last=2)
    with torch.no_grad():
        model.weight[0, 0] = 1.0  # back again
    _step(recorder, arguments, 2, last=2)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["density"] for line in lines] == [1 / 8, 0.0]
    assert [line["step"] for line in lines] == [1, 2]
    assert recorder.steps == 2
    assert recorder.sum_lr == pytest.approx(0.2)


def test_dynamics_are_those_of_the_export_and_of_the_weights_that_train(
    tmp_path: Path, arguments: TrainingArguments
) -> None:
    model = torch.nn.Linear(4, 2, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)
    recorder = _recorder(tmp_path / "metrics.jsonl", model)
    recorder.on_train_begin()
    for step, value in enumerate((1 + 2**-7, 1.0), 1):
        with torch.no_grad():
            model.weight[0, 0] = value
            model.weight[0, 1] += 2**-12  # not visible in bf16, either time
        _step(recorder, arguments, step, last=2)
    first, second = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (first["density_step"], first["density_ever"], first["update_norm"]) == (1 / 8, 1 / 8, 2**-7)
    assert (second["density"], second["density_step"], second["density_ever"]) == (0.0, 1 / 8, 1 / 8)
    assert second["update_norm_held"] == 2**-11
    summary = recorder.dynamics.summary()
    assert (summary.counts.cancelled, summary.counts.effective, summary.measured) == (1, 0, 2)


@pytest.mark.parametrize(("steps", "every", "snapshots"), [(5, 1, 5), (60, 1, 21), (60, 7, 9), (210, 1, 21)])
def test_snapshots_are_as_many_as_the_papers_where_there_are_that_many(
    tmp_path: Path, arguments: TrainingArguments, steps: int, every: int, snapshots: int
) -> None:
    recorder = _recorder(tmp_path / "metrics.jsonl", torch.nn.Linear(2, 2), every)
    recorder.on_train_begin()
    for step in range(1, steps + 1):
        _step(recorder, arguments, step, last=steps)
    assert recorder.dynamics.summary().snapshots == snapshots


def test_a_run_ends_at_weights_that_are_not_finite(tmp_path: Path, arguments: TrainingArguments) -> None:
    model = torch.nn.Linear(2, 2)
    recorder = _recorder(tmp_path / "metrics.jsonl", model)
    with torch.no_grad():
        model.weight[1, 1] = torch.nan
    with pytest.raises(RunError, match="weights are NaN or infinite at step 1"):
        _step(recorder, arguments, 1, last=2)


def test_density_is_measured_every_k_steps_and_at_the_end(tmp_path: Path, arguments: TrainingArguments) -> None:
    recorder = _recorder(tmp_path / "metrics.jsonl", torch.nn.Linear(2, 2), every=3)
    recorder.on_train_begin()
    for step in range(1, 6):
        _step(recorder, arguments, step, last=5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "density" in line] == [3, 5]


@pytest.mark.parametrize("logs", [{"loss": float("nan")}, {"grad_norm": float("inf")}])
def test_a_run_ends_at_the_step_that_is_not_finite(
    tmp_path: Path, arguments: TrainingArguments, logs: dict[str, float]
) -> None:
    recorder = _recorder(tmp_path / "metrics.jsonl", torch.nn.Linear(2, 2))
    recorder.on_train_begin()
    with pytest.raises(RunError, match="at step 4"):
        _step(recorder, arguments, 4, last=5, **logs)


def test_what_made_the_weights_nan_is_named_before_them(tmp_path: Path, arguments: TrainingArguments) -> None:
    model = torch.nn.Linear(2, 2)
    recorder = _recorder(tmp_path / "metrics.jsonl", model)
    with torch.no_grad():
        model.weight.fill_(torch.nan)
    with pytest.raises(RunError, match=r"^loss is nan at step 4$"):
        _step(recorder, arguments, 4, last=5, loss=float("nan"), grad_norm=float("nan"))
