"""Mean NLL against a direct float64 computation, one sequence at a time."""

from __future__ import annotations

import math
import random

import pytest
import torch
from transformers import Qwen2ForCausalLM

from subnetray.algorithms.shared.setting import Example
from subnetray.job import likelihood
from tests.decoder import decoder


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    return decoder()


def test_mean_nll_is_that_of_every_completion_token(model: Qwen2ForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    examples = [
        Example(rng.choices(range(16), k=rng.randint(1, 5)), rng.choices(range(16), k=rng.randint(1, 4)))
        for _ in range(20)
    ]
    examples += [Example([3, 4], [5, 6]), Example([3], [4, 5, 6]), *examples[::3]]  # equal ones count as often
    monkeypatch.setattr(likelihood, "_TOKENS", 30)  # several batches, of several widths
    reference = model.double()
    total, tokens = 0.0, 0
    for example in examples:
        ids = torch.tensor([example.prompt + example.completion])
        logprobs = reference(input_ids=ids).logits[0].log_softmax(-1)
        for position in range(len(example.prompt), ids.shape[1]):
            total -= float(logprobs.detach()[position - 1, ids[0, position]])
            tokens += 1
    assert likelihood.mean_nll(model.float(), examples, pad=0) == pytest.approx(total / tokens, rel=1e-5)


def test_mean_nll_at_a_temperature_and_with_large_vocabularies(
    model: Qwen2ForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [Example([3, 4], [5, 6, 7]), Example([8], [9])]
    total = 0.0
    for example in examples:
        ids = torch.tensor([example.prompt + example.completion])
        logprobs = (model.double()(input_ids=ids).logits[0] / 0.5).log_softmax(-1)[:-1]
        chosen = logprobs.gather(1, ids[0, 1:, None])[len(example.prompt) - 1 :]
        total -= float(chosen.detach().sum())
    assert likelihood.mean_nll(model.float(), examples, 0, temperature=0.5) == pytest.approx(total / 4, rel=1e-5)
    whole = likelihood.mean_nll(model, examples, 0)
    monkeypatch.setattr(likelihood, "_LOGITS", 16)  # one token a pass: a batch for each
    assert likelihood.mean_nll(model, examples, 0) == pytest.approx(whole, rel=1e-6)
    assert [len(batch) for batch in likelihood._batches(examples, 1)] == [1, 1]


def test_mean_nll_leaves_the_model_in_its_mode_and_is_nan_without_tokens(model: Qwen2ForCausalLM) -> None:
    model.train()
    assert math.isnan(likelihood.mean_nll(model, [], pad=0))
    assert math.isnan(likelihood.mean_nll(model, [Example([3], []), Example([4, 5], [])], pad=0))
    assert model.training
