"""What counts as a training that blew up, and what does not."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from transformers import PrinterCallback

from subnetray import algorithms
from subnetray.algorithms.shared.setting import Example, RunError, Setting
from subnetray.config import SFT
from subnetray.job import blowup
from subnetray.job.evaluation import Score
from subnetray.job.measurement import exported
from subnetray.job.recorder import Recorder
from subnetray.subnetwork.weights import Weights
from tests.algorithms.conftest import init
from tests.algorithms.lab import make_setting

__all__ = ["init"]


def _scores(accuracy: float, reward: float = 0.0) -> dict[str, Score]:
    score = Score(reward, accuracy, 0.0, 64, 4.0, 0.0, None)
    return {"greedy": score, "sampled": score}


def _trained(directory: Path, scratch: Path, lr: float, steps: int = 8) -> tuple[Setting, Weights, float]:
    """SFT on gold completions: setting, init and the norm of the update."""
    setting = make_setting(directory, SFT(lr=lr, steps=steps, batch_size=8, warmup_steps=0, data="gold"))
    before = exported(setting.model, torch.bfloat16)
    recorder = Recorder(scratch / "metrics.jsonl", setting.model, before, every=steps, write=True)
    setting = dataclasses.replace(setting, callbacks=[recorder])
    trainer = algorithms.build(setting)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return setting, before, recorder.update_norm


def test_a_learning_rate_of_a_thousand_is_a_training_that_blew_up(init: Path, tmp_path: Path) -> None:
    setting, before, norm = _trained(init, tmp_path, lr=1e3)
    sentence = r"^training blew up: the update is \S+ times as large as the init \(L2 norms\), and "
    lower = r": lower algorithm\.lr, which is 1000$"
    # A uniform guess is right once in a while.
    with pytest.raises(
        RunError, match=sentence + r"the share of right held-out completions went from 50\.0% to 0\.2%" + lower
    ):
        blowup.check(setting, before, norm, _scores(0.5, 0.5), _scores(0.002, 0.002))
    with pytest.raises(
        RunError, match=sentence + r"its data are no likelier than by a uniform guess \(\S+ nats a token\)"
    ):
        blowup.check(setting, before, norm, {}, {})


@pytest.mark.parametrize(
    ("before", "after"), [((0.0, 0.0), (0.01, 0.01)), ((0.0, 0.0), (0.0, 0.1)), ((0.5, 0.5), (0.1, 0.1))]
)
def test_what_learned_or_kept_anything_did_not_blow_up(
    init: Path, tmp_path: Path, before: tuple[float, float], after: tuple[float, float]
) -> None:
    setting, weights, norm = _trained(init, tmp_path, lr=1e3, steps=1)
    blowup.check(setting, weights, norm, _scores(*before), _scores(*after))


def test_what_only_got_worse_did_not_blow_up(init: Path, tmp_path: Path) -> None:
    """At any rate that leaves more of the init than it adds, however bad the policy has become."""
    setting, before, norm = _trained(init, tmp_path, lr=1e-3)
    blowup.check(setting, before, norm, _scores(0.6), _scores(0.0, -1.0))
    blowup.check(setting, before, norm, {}, {})


def test_without_a_reward_it_is_the_data_that_say_whether_anything_was_learned(init: Path, tmp_path: Path) -> None:
    setting, before, _ = _trained(init, tmp_path, lr=3e-2, steps=60)
    setting.data.examples[:] = setting.data.examples or [Example([3], [4])]
    blowup.check(setting, before, math.inf, {}, {})
