"""What every algorithm writes down of a step, under one name each."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import PrinterCallback

from subnetray import algorithms
from subnetray.algorithms.shared.preferences import pairs_of
from subnetray.config import ALGORITHMS, Algorithm, OnPolicy, Pairs, Preference
from subnetray.job.recorder import Recorder
from subnetray.subnetwork import named_weights
from tests.algorithms.lab import Scored, make_setting

ALL = {"step", "loss", "lr", "grad_norm", "tokens"} | {"density", "density_step", "update_norm"}
ROLLOUTS = {"reward", "reward_std", "zero_advantage_share", "completion_length", "truncated_share", "clip_share"}
ENGINE = {f"engine_ratio_{name}" for name in ("mean", "min", "max")} | {"engine_logp_gap_mean", "engine_logp_gap_max"}
PREFERENCES = {"preference_margin", "preference_reward_chosen", "preference_reward_rejected"}


def expected(algorithm: Algorithm) -> set[str]:
    names = set(ALL)
    if isinstance(algorithm, OnPolicy):
        names |= ROLLOUTS | {"entropy"} | ({"kl"} if algorithm.beta else set())
        names |= ENGINE if algorithm.name != "rloo" else set()  # its ratio is of its own probabilities alone
    if isinstance(algorithm, Preference):
        names |= PREFERENCES
    if isinstance(algorithm, Pairs):
        names |= {"preference_accuracy"}
    own = {
        "ppo": {"value_loss"},
        "prime": {"process_reward", "prm_loss", "prm_accuracy"},
        "sft": {"entropy", "token_accuracy"},
        "dpo": {"entropy", "token_accuracy"},
        "kto": {"entropy", "kl"},
    }
    return names | own.get(algorithm.name, set())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_writes_the_metrics_it_has(init: Path, tmp_path: Path, name: str) -> None:
    schema = ALGORITHMS[name]
    algorithm: Algorithm = schema(steps=1, batch_size=8)
    if isinstance(algorithm, OnPolicy) and name != "prime":
        algorithm = dataclasses.replace(algorithm, beta=0.1)
    setting = make_setting(init, algorithm, answers=("7", "-31", "77", "5-5", ""))  # one is empty
    weights = {key: tensor.clone() for key, tensor in named_weights(setting.model, torch.bfloat16).items()}
    recorder = Recorder(tmp_path / "metrics.jsonl", setting.model, weights, every=1, write=True)
    # Odd lengths are right, so that every prompt has right and wrong ones.
    setting = dataclasses.replace(setting, task=Scored(lambda text: float(len(text) % 2)), callbacks=[recorder])
    trainer = algorithms.build(setting)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    (line,) = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert expected(algorithm) - set(line) == set()
    assert line["tokens"] > 0
    (times,) = [json.loads(text) for text in (tmp_path / "time.jsonl").read_text().splitlines()]
    assert times["step"] == 1
    assert times["tokens_per_s"] > 0
    assert "tokens_per_s" not in line
    if isinstance(algorithm, Pairs):
        # Of both completions and their prompts, padding left out.
        pairs = pairs_of(setting)
        assert line["tokens"] == sum(len(each.prompt) + len(each.completion) for pair in pairs for each in pair)
