"""The probe: what the trainer computes with the published weights, and how far an engine may be from it."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from subnetray.rollout import Policy, Probe, SyncError
from subnetray.rollout.sync.probe import TOLERANCE
from subnetray.subnetwork import named_weights

IDS = [1, 5, 3, 7, 2, 2, 9]


def _model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def test_logprobs_are_those_of_the_published_weights_whose_head_is_tied() -> None:
    held, published = _model(0), _model(1)
    probe = Probe.of(held, named_weights(published), IDS)
    with torch.no_grad():
        logits = published(input_ids=torch.tensor([IDS])).logits[0].log_softmax(-1)
    expected = [float(logits[index, token]) for index, token in enumerate(IDS[1:])]
    assert probe.ids == IDS
    assert probe.logprobs == pytest.approx(expected, abs=1e-5)


def test_the_published_dtype_is_what_the_probe_is_computed_in() -> None:
    model = _model()
    rounded = Probe.of(model, named_weights(model, torch.bfloat16), IDS)
    exact = Probe.of(model, named_weights(model), IDS)
    gap = exact.check("both", rounded.logprobs)
    assert 0 < gap < TOLERANCE


def test_asking_leaves_the_model_and_its_gradients_alone() -> None:
    model = _model()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    Probe.of(model, named_weights(_model(1), torch.bfloat16), IDS)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_gap_is_a_mean_and_its_limit_grows_with_the_text_s_surprise() -> None:
    probe = Probe([1, 2, 3], [-1.0, -3.0])  # the mean is 2 nats, so the limit 3 × TOLERANCE
    assert probe.check("v", [-1.1, -3.1]) == pytest.approx(0.1)
    assert probe.check("v", [-1.0, -3.0 - 5.9 * TOLERANCE]) == pytest.approx(2.95 * TOLERANCE)
    for wrong in ([-1.0, -3.0 - 6.1 * TOLERANCE], [-1.0 + 6.1 * TOLERANCE, -3.0], [math.nan, -3.0], [-math.inf, -3.0]):
        with pytest.raises(SyncError, match=r"^the engine that loaded run/step-3 gives a text other log-probabilities"):
            probe.check("run/step-3", wrong)


def test_what_was_drawn_is_held_against_the_trainer_as_a_probe_is() -> None:
    policy = Policy([], "run", timeout_s=1)
    policy.publish(named_weights(_model()), "step-3")
    policy.compare([-1.0, -3.0], [-1.1, -3.1])
    assert policy.sync.logp_gap == pytest.approx(0.1)
    policy.compare([-1.0, -3.0], [-1.0, -3.0])
    assert policy.sync.logp_gap == pytest.approx(0.1)
    for wrong in ([-1.0, -3.0 - 6.1 * TOLERANCE], [math.nan, -3.0]):
        with pytest.raises(SyncError, match=r"^the engine that loaded run/step-3 gives a text other log-probabilities"):
            policy.compare([-1.0, -3.0], wrong)
