"""The embedded world: each factor of ``origins`` does to the training data, or to the policy, what its name says.

Real inits and real trainers; transformers samples in this process. What the manipulation checks of claims ask of a
sweep's runs is asked here of a few steps, with their thresholds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM

from subnetray import algorithms, models
from subnetray.algorithms import sft
from subnetray.algorithms.shared.preferences import pairs_of
from subnetray.algorithms.shared.setting import Example, Setting
from subnetray.analysis.contrasts import NLL_GAP
from subnetray.analysis.manipulation import CLIPPED, KL_MOVED
from subnetray.config import DPO, GRPO, SFT, Algorithm, ArithmeticTask, Rollout
from subnetray.config.compose import Composer
from subnetray.job.likelihood import mean_nll
from subnetray.rollout import Policy, Samples, Sampling
from subnetray.rollout.hf import HFEngine
from subnetray.tasks import load
from subnetray.tasks.arithmetic import MARK
from tests.algorithms.lab import Collect, make_setting

pytestmark = pytest.mark.e2e

TASK = ArithmeticTask(size=480)
PAD = 0
FEW: dict[str, Any] = {"steps": 4, "batch_size": 64}


class Local:
    """Stands in for engines: transformers samples, from the weights that were published last."""

    def __init__(self, init: Path) -> None:
        self._engine = HFEngine(init, Rollout(name="hf", dtype="float32"))

    def publish(self, weights: dict[str, torch.Tensor], *_: object) -> None:
        self._engine._load(weights)

    def sample(self, prompts: list[list[int]], sampling: Sampling) -> Samples:
        return self._engine._sample(prompts, sampling, 0)

    def compare(self, *_: object) -> None:
        pass


def setting_of(init: Path, algorithm: Algorithm) -> Setting:
    setting = make_setting(init, algorithm)
    config = dataclasses.replace(setting.config, task=TASK)
    return dataclasses.replace(setting, config=config, task=load(TASK), policy=cast(Policy, Local(init)))


def own(setting: Setting) -> list[Example]:
    """Completions of the policy's own, of held-out problems."""
    groups = setting.sample_init(setting.task.held_out(512), 1, "own")
    return [example for group in groups for example, _ in group]


def nll(init: Path, examples: list[Example]) -> float:
    return mean_nll(AutoModelForCausalLM.from_pretrained(init, dtype=torch.float32), examples, PAD)


@pytest.fixture(scope="module")
def tuned() -> Path:
    """``model=tiny_sft``."""
    (run,) = Composer().runs([["model=tiny_sft"]])
    return models.prepare(run.model, models.default_cache(), print)


def test_gold_is_far_from_the_base_and_near_after_an_sft_stage(tiny: Path, tuned: Path) -> None:
    gaps = {}
    for init in (tiny, tuned):
        setting = setting_of(init, SFT(**FEW))
        gaps[init] = nll(init, sft.examples_of(setting)) - nll(init, own(setting))
    assert gaps[tiny] >= NLL_GAP
    assert gaps[tuned] <= NLL_GAP / 4


def test_what_the_reward_accepts_is_no_farther_than_what_the_policy_samples(tiny: Path) -> None:
    setting = setting_of(tiny, SFT(**FEW, data="rejection"))
    accepted = sft.examples_of(setting)
    assert len({example.key for example in accepted}) > 0
    assert nll(tiny, accepted) <= nll(tiny, own(setting))


def test_pairs_are_of_the_policy_or_far_from_it(tiny: Path) -> None:
    sides = {}
    for data in ("on_policy", "off_policy"):
        pairs = pairs_of(setting_of(tiny, DPO(**FEW, data=data)))
        sides[data] = [nll(tiny, [pair[side] for pair in pairs]) for side in (0, 1)]
    assert min(sides["off_policy"]) >= max(sides["on_policy"]) + NLL_GAP


def test_the_base_answers_some_problems_and_never_as_gold_is_written(tiny: Path) -> None:
    setting = setting_of(tiny, SFT(**FEW))
    problems = setting.task.held_out(512)
    drawn = [group[0] for group in setting.sample_init(problems, 1, "own")]
    assert 0.05 <= sum(reward for _, reward in drawn) / len(drawn) <= 0.4
    texts = [setting.decode(example.completion) for example, _ in drawn]
    assert sum(text.endswith(MARK) for text in texts) < 0.05 * len(texts)


def test_clipping_and_a_penalty_bind(tiny: Path) -> None:
    """Take a few steps at ten times the rate of ``origins``, which go as far as its own."""
    runs = {beta: _trained(tiny, GRPO(steps=12, batch_size=64, lr=1e-4, beta=beta)) for beta in (0.0, 1.0)}
    kl, norms = runs[0.0]
    assert sum(norm > 1.0 for norm in norms) >= CLIPPED * len(norms)
    assert runs[1.0][0] <= (1 - KL_MOVED) * kl


def _trained(init: Path, algorithm: Algorithm) -> tuple[float, list[float]]:
    """The final policy's KL to the init in nats a token, and the gradient norms of its steps."""
    norms: list[float] = []
    setting = dataclasses.replace(setting_of(init, algorithm), callbacks=[Collect("grad_norm", norms)])
    trainer: Any = algorithms.build(setting)
    trainer.train()
    setting.publish("final", probe=False)
    examples = own(setting)
    return nll(init, examples) - mean_nll(setting.model, examples, PAD), norms
