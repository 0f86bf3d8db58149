"""A reference is asked once for each completion, says what TRL would have asked it at every step, and is let go."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback

from subnetray import algorithms
from subnetray.algorithms.shared import reference
from subnetray.algorithms.shared.setting import Example, Setting
from subnetray.config import DPO, KTO, Algorithm
from tests.algorithms.lab import Scored, make_setting

ALGORITHMS = [
    DPO(steps=6, batch_size=4, data="off_policy"),
    DPO(steps=6, batch_size=4),
    KTO(steps=6, batch_size=4, data="off_policy"),
    KTO(steps=6, batch_size=4),
]


def setting_of(init: Path, algorithm: Algorithm) -> Setting:
    setting = make_setting(init, algorithm, answers=("7", "-31", "77", "5-5", ""))
    return dataclasses.replace(setting, task=Scored(lambda text: float(len(text) % 2)))


def build(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> tuple[Trainer, list[Example]]:
    """A trainer, and what its reference was asked for."""
    asked: list[Example] = []
    real = reference._logps

    def logps(trainer: Any, examples: list[Example]) -> Tensor:
        asked.extend(examples)
        return real(trainer, examples)

    monkeypatch.setattr(reference, "_logps", logps)
    return algorithms.build(setting), asked


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda each: f"{each.name}-{each.data}")
def test_batches_hold_what_trl_would_compute(init: Path, algorithm: Algorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_PASS", 3)  # so that the last pass is not full
    trainer, asked = build(setting_of(init, algorithm), monkeypatch)
    names = ("ref_chosen_logps", "ref_rejected_logps") if algorithm.name == "dpo" else ("ref_logps", "ref_KL_logps")
    rows = 0
    for batch in trainer.get_train_dataloader():
        # The policy is the init still.
        for name, expected in zip(names, trainer.compute_ref_log_probs(trainer.model, batch), strict=True):
            torch.testing.assert_close(batch[name], expected, rtol=1e-5, atol=1e-5)
            rows += len(expected)
    assert rows == 2 * 6 * 4
    assert len({each.key for each in asked}) == len(asked) <= rows


def test_pairs_that_come_again_are_asked_for_once(init: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = setting_of(init, DPO(steps=6, batch_size=4))
    problems = setting.task.train_prompts(3, 0)
    monkeypatch.setattr(setting.task, "train_prompts", lambda *_: problems)
    trainer, asked = build(setting, monkeypatch)
    trainer.get_train_dataloader()
    trainer.get_train_dataloader()
    assert len(asked) == 2 * 3


def test_training_has_no_reference_model(init: Path) -> None:
    setting = setting_of(init, DPO(steps=1, batch_size=4, data="off_policy"))
    references: list[Any] = []

    def load(*_: Any) -> Any:
        model = Setting.load(setting)
        references.append(weakref.ref(model))
        return model

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            gc.collect()
            held.append(references[0]())

    held: list[Any] = []
    setting.callbacks.append(Watch())
    object.__setattr__(setting, "load", load)  # of this one alone
    algorithms.build(setting).train()
    assert held == [None]
