"""What a run refuses as soon as it has read its init."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from subnetray.algorithms.setting import RunError
from subnetray.config import GRPO, ArithmeticTask, EmbeddedModel, Evaluation, Measurement, Rollout, RunConfig
from subnetray.job.run import run
from subnetray.job.spec import RunSpec
from subnetray.models.tokenizer import make_tokenizer


def test_a_tokenizer_without_an_end_of_sequence_is_one_sentence(tmp_path: Path) -> None:
    PreTrainedTokenizerFast(tokenizer_object=make_tokenizer(64).backend_tokenizer).save_pretrained(tmp_path / "init")
    config = RunConfig(
        EmbeddedModel(), ArithmeticTask(), GRPO(steps=1, batch_size=8), Rollout(), Evaluation(), Measurement()
    )
    spec = RunSpec("a", config, tmp_path / "init", tmp_path / "run", (), 0, 1, 0)
    with pytest.raises(RunError, match=r"^the tokenizer of .*init has no end-of-sequence token$"):
        run(spec.to_dict())
