"""What a run refuses as soon as it has read its init, and where it says that its time went."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from subnetray.algorithms.shared.setting import RunError
from subnetray.config import GRPO, ArithmeticTask, EmbeddedModel, Evaluation, Measurement, Rollout, RunConfig
from subnetray.job.run import _beside, run
from subnetray.job.spec import RunSpec
from subnetray.models.tokenizer import make_tokenizer
from subnetray.process.clock import Clock
from subnetray.rollout import Policy


def test_a_tokenizer_without_an_end_of_sequence_is_one_sentence(tmp_path: Path) -> None:
    PreTrainedTokenizerFast(tokenizer_object=make_tokenizer(64).backend_tokenizer).save_pretrained(tmp_path / "init")
    config = RunConfig(
        EmbeddedModel(), ArithmeticTask(), GRPO(steps=1, batch_size=8), Rollout(), Evaluation(), Measurement()
    )
    spec = RunSpec("a", config, tmp_path / "init", tmp_path / "run", (), 0, 1, 0)
    with pytest.raises(RunError, match=r"^the tokenizer of .*init has no end-of-sequence token$"):
        run(spec.to_dict())


def test_sampling_within_a_phase_is_not_counted_twice() -> None:
    clock, policy = Clock(), Policy([], "run", timeout_s=1)
    policy.rollout_s = 7.0  # before
    with _beside(clock, "train", policy):
        policy.rollout_s += 2.0
        policy.sync.seconds += 0.5
    assert clock.seconds["train"] == pytest.approx(-2.5, abs=0.1)
    assert [clock.seconds[key] for key in ("rollout", "sync", "wait")] == [2.0, 0.5, 0.0]
