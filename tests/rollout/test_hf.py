"""Engines of transformers: they draw from the model's own distribution, each completion by itself."""

from __future__ import annotations

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, Qwen2ForCausalLM

from subnetray.config import Rollout
from subnetray.models.tokenizer import make_tokenizer
from subnetray.rollout import Probe, Samples, Sampling, SyncError
from subnetray.rollout.hf import HFEngine
from subnetray.rollout.messages import Answer, Target
from subnetray.rollout.sampling import concatenate
from subnetray.rollout.sync.published import Published
from subnetray.subnetwork import named_weights
from tests.decoder import decoder
from tests.rounding import assert_drawn_alike

EOS = 1
PROMPTS = [[3, 12, 4, 15], [9], [5, 5, 12, 6, 6, 15, 2]]


def save(directory: Path, seed: int) -> Path:
    model = decoder(seed, tie_word_embeddings=True)
    # What checkpoints of instruction models recommend, and what must not cut their distribution down.
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=2, temperature=0.1, repetition_penalty=9.0, eos_token_id=[EOS]
    )
    model.save_pretrained(directory)
    make_tokenizer(64).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("init"), seed=0)


@pytest.fixture(scope="module")
def engine(init: Path) -> HFEngine:
    return HFEngine(init, Rollout(name="hf", dtype="float32"))


@pytest.fixture(scope="module")
def exact(init: Path) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM.from_pretrained(init).double().eval()


def test_a_model_without_weights_is_built_to_be_sent_them(init: Path, engine: HFEngine, tmp_path: Path) -> None:
    blank = shutil.copytree(init, tmp_path / "blank", ignore=shutil.ignore_patterns("*.safetensors"))
    other = HFEngine(blank, Rollout(name="hf", dtype="float32"))
    weights = named_weights(Qwen2ForCausalLM.from_pretrained(init))
    sampling = Sampling(temperature=1.0, max_new_tokens=6, seed=4)
    for each in (engine, other):
        each._load(weights)
    assert other._sample(PROMPTS, sampling, 0) == engine._sample(PROMPTS, sampling, 0)


@torch.no_grad()
def distribution(exact: Qwen2ForCausalLM, ids: list[int], temperature: float) -> torch.Tensor:
    """Of the next token, float64."""
    return (exact(input_ids=torch.tensor([ids])).logits[0, -1] / temperature).log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_are_the_model_s_probabilities(
    engine: HFEngine, exact: Qwen2ForCausalLM, temperature: float
) -> None:
    """Of first tokens, and of second ones after the likeliest first: within five standard errors each (and three draws,
    as rare ones are not normal)."""
    n = 6000
    samples = engine._sample(PROMPTS * n, Sampling(temperature, 2, seed=11), 0)
    for start, prompt in enumerate(PROMPTS):
        drawn = samples.completions[start :: len(PROMPTS)]
        following = Counter(row[0] for row in drawn if row[0] != EOS).most_common(1)[0][0]
        seconds = [row[1] for row in drawn if row[0] == following]
        for ids, tokens in ((prompt, [row[0] for row in drawn]), ([*prompt, following], seconds)):
            expected = distribution(exact, ids, temperature).exp().numpy()
            found = np.bincount(tokens, minlength=len(expected)) / len(tokens)
            assert (
                abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / len(tokens)) + 3 / len(tokens)
            ).all()
    assert all(row[0] == EOS for row in samples.completions if len(row) == 1)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_logprobs_are_those_that_tokens_were_drawn_with(
    engine: HFEngine, exact: Qwen2ForCausalLM, temperature: float
) -> None:
    samples = engine._sample(PROMPTS, Sampling(temperature, 6, seed=3), 0)
    for prompt, completion, logprobs in zip(PROMPTS, samples.completions, samples.logprobs, strict=True):
        assert len(completion) == len(logprobs) <= 6
        assert (completion[-1] == EOS) or len(completion) == 6
        for index, (token, logprob) in enumerate(zip(completion, logprobs, strict=True)):
            # Greedy tokens have the probabilities of temperature 1, as vLLM gives them.
            expected = distribution(exact, [*prompt, *completion[:index]], temperature or 1.0)
            assert logprob == pytest.approx(float(expected[token]), abs=1e-4)
            if temperature == 0:
                assert float(expected.max() - expected[token]) <= 2e-4  # two that are as near may change places


def test_a_completion_depends_on_its_prompt_and_seed_alone(init: Path, engine: HFEngine) -> None:
    """... not on those beside it, nor on how the cache parts a call."""
    prompts, sampling = PROMPTS * 10, Sampling(1.0, 6, seed=5)
    together = engine._sample(prompts, sampling, 0)
    alone = [engine._sample([prompt], sampling, index) for index, prompt in enumerate(prompts)]
    assert_drawn_alike(together, concatenate(alone), most=1e-4)
    assert len({tuple(row) for row in together.completions}) > 10
    assert engine._sample(prompts, Sampling(1.0, 6, seed=6), 0).completions != together.completions


def test_of_more_prompts_than_the_cache_has_room_for_the_first_are_answered(init: Path) -> None:
    engine = HFEngine(init, Rollout(name="hf", dtype="float32"))
    published = Published(named_weights(Qwen2ForCausalLM.from_pretrained(init)))
    target = Target("run", published.digest, published.shapes, None, initial=False)
    prompts, sampling = PROMPTS * 10, Sampling(1.0, 6, seed=5)

    def ask(first: int) -> Samples:
        answer = engine.generate(target, prompts[first:], sampling, first, published.init())
        assert answer.samples is not None
        return answer.samples

    together = ask(0)
    assert len(together.completions) == len(prompts)
    engine._cache_bytes //= engine._at_a_time([[0] * 7], sampling) // 4
    parts = [ask(first) for first in range(0, len(prompts), 4)]
    assert [len(part.completions) for part in parts] == [4] * 7 + [2]
    parted = concatenate(parts)
    assert_drawn_alike(parted, together, most=1e-4)


def test_it_waits_for_a_model_that_is_yet_to_be_made(tmp_path: Path, init: Path) -> None:
    late = tmp_path / "late"
    with ThreadPoolExecutor(1) as aside:
        starting = aside.submit(HFEngine, late, Rollout(name="hf", dtype="float32"))
        with pytest.raises(TimeoutError):
            starting.result(timeout=0.5)
        late.symlink_to(init)
        assert starting.result(timeout=60)._parameters


def test_it_takes_up_what_a_run_publishes_and_tells_when_it_has_not(tmp_path: Path, init: Path) -> None:
    engine = HFEngine(init, Rollout(name="hf", dtype="float32"))
    trained = Qwen2ForCausalLM.from_pretrained(init)
    published = Published(named_weights(trained))
    sampling = Sampling(1.0, 4, seed=1)

    def ask(*updates: Any) -> Answer:
        probe = Probe.of(trained, named_weights(trained), PROMPTS[2])
        target = Target("run", published.digest, published.shapes, probe, initial=published.unchanged)
        return engine.generate(target, PROMPTS, sampling, 0, *updates)

    assert ask().samples is None  # it holds nothing by digest
    first = ask(published.init())
    assert first.samples == engine._sample(PROMPTS, sampling, 0)
    # Other runs start from these weights: what they ask as well is not sampled twice.
    assert ask().samples is first.samples
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    update = published.advance(named_weights(trained))
    answer = ask(update)
    assert answer.logp_gap < 1e-4
    assert ask().samples is not answer.samples
    trained.save_pretrained(tmp_path / "trained")
    make_tokenizer(64).save_pretrained(tmp_path / "trained")
    fresh = HFEngine(tmp_path / "trained", Rollout(name="hf", dtype="float32"))
    assert answer.samples == fresh._sample(PROMPTS, sampling, 0)
    # An engine that loads nothing.
    engine._load = lambda weights: None  # type: ignore[method-assign]
    with torch.no_grad():
        cast(torch.Tensor, trained.model.embed_tokens.weight).add_(0.3)
    with pytest.raises(SyncError, match="other log-probabilities than the trainer"):
        ask(published.advance(named_weights(trained)))
