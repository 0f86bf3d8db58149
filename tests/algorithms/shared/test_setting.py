"""Prompts as token ids; the log of training data keeps a sample of a bounded size."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.algorithms.shared.setting import DataLog, Example, RunError, Setting
from subnetray.config import SFT, Rollout
from subnetray.models.tokenizer import VOCABULARY, make_tokenizer
from subnetray.rollout.sampling import derive_seed
from subnetray.tasks import Problem
from tests.algorithms.lab import Engines, make_setting


@given(parts=st.lists(st.integers(0, 40), max_size=20), limit=st.integers(2, 16))
def test_data_log_is_bounded_and_counts_everything(parts: list[int], limit: int) -> None:
    log = DataLog(limit=limit)
    number = 0
    for size in parts:
        log.add([Example([index], [1] * (index % 3)) for index in range(number, number + size)])
        number += size
    kept = [example.prompt[0] for example in log.examples]
    assert log.seen == number
    assert log.tokens == sum(index % 3 for index in range(number))
    assert len(kept) == len(set(kept)) == min(number, limit)


@pytest.mark.parametrize("period", [2, 3, 8])
def test_every_example_has_the_same_chance_to_be_kept_whatever_their_pattern(period: int) -> None:
    """Chosen and rejected completions in turn, or the answers to one prompt: none is left out, none preferred."""
    log = DataLog(limit=1024)
    log.add([Example([index % period], [1] * (1 + index % period)) for index in range(7680)])
    for residue in range(period):
        share = sum(example.prompt == [residue] for example in log.examples) / 1024
        # Four standard errors of a draw without replacement.
        assert abs(share - 1 / period) < 4 * math.sqrt((1 / period) * (1 - 1 / period) / 1024)


def test_data_log_does_not_depend_on_how_the_data_were_batched() -> None:
    examples = [Example([index], [1]) for index in range(100)]
    whole, split = DataLog(limit=8), DataLog(limit=8)
    whole.add(examples)
    for start in range(0, 100, 7):
        split.add(examples[start : start + 7])
    assert whole.examples == split.examples


def setting(template: str | None) -> Setting:
    """One with a tokenizer and room for 6 tokens of a prompt, and nothing else."""
    tokenizer = make_tokenizer(64)
    tokenizer.chat_template = template
    parts = {"tokenizer": tokenizer, "config": SimpleNamespace(rollout=Rollout(max_model_len=8, max_new_tokens=2))}
    return cast(Setting, SimpleNamespace(**parts))


def encode(template: str | None, prompt: Any) -> str:
    return "".join(VOCABULARY[token] for token in Setting.encode(setting(template), [Problem(prompt)])[0])


TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}={% endfor %}{% if add_generation_prompt %}*{% endif %}"
)


def test_messages_go_through_the_template_and_text_does_not() -> None:
    messages = ({"role": "system", "content": "12"}, {"role": "user", "content": "3"})
    assert encode(TEMPLATE, messages) == "12=3=*"
    assert encode(TEMPLATE, "1+2=") == encode(None, "1+2=") == "1+2="
    mixed = Setting.encode(setting(TEMPLATE), [Problem("1+2="), Problem(messages), Problem("3=")])
    assert ["".join(VOCABULARY[token] for token in ids) for ids in mixed] == ["1+2=", "12=3=*", "3="]


def test_a_replica_samples_anew_and_what_is_not_one_as_ever() -> None:
    def seeds(replica: int) -> list[int]:
        setting = cast(Any, SimpleNamespace(config=SimpleNamespace(seed=3, rollout=Rollout(replica=replica))))
        return [Setting.sampling(setting, purpose, rank=rank).seed for purpose in ("a", "b") for rank in (0, 1)]

    first = seeds(0)
    assert first[0] == derive_seed(3, "a", 0)  # what it was before there were replicas
    assert len({*first, *seeds(1), *seeds(2)}) == 12


@pytest.mark.parametrize(("purpose", "words"), [("pairs", "samples pairs"), ("labels", "samples completions")])
def test_it_is_said_what_is_sampled_unless_it_is_there_already(purpose: str, words: str) -> None:
    said: list[str] = []
    parts: dict[str, Any] = {
        "encode": lambda problems: [[1] for _ in problems],
        "policy": SimpleNamespace(sample=lambda prompts, _: SimpleNamespace(completions=[[2]] * len(prompts))),
        "sampling": lambda _: None,
        "decode": str,
        "task": SimpleNamespace(reward=lambda problem, text: 1.0),
        "drawn": {},
        "doing": said.append,
    }
    setting = cast(Setting, SimpleNamespace(**parts))
    first = Setting.sample_init(setting, [Problem("1+2=")], 2, purpose)
    assert said == [words, "scores what it has sampled", "prepares to train"]
    said.clear()
    assert Setting.sample_init(setting, [Problem("1+2=")], 2, purpose) == first
    assert words not in said


def test_engines_are_compared_on_what_the_policy_sees() -> None:
    held_out = Problem(({"role": "user", "content": "3"},), gold="4")
    parts = setting(TEMPLATE).__dict__ | {"task": SimpleNamespace(held_out=lambda _: [held_out])}
    asked = SimpleNamespace(**parts, encode=lambda problems: Setting.encode(setting(TEMPLATE), problems))
    asked.encode_completions = lambda texts: Setting.encode_completions(cast(Setting, asked), texts)
    ids = Setting.probe_ids.func(cast(Setting, asked))  # type: ignore[attr-defined]
    assert "".join(VOCABULARY[token] for token in ids) == "3=*4<eos>"


@pytest.mark.parametrize(
    ("template", "prompt", "sentence"),
    [
        (None, ({"role": "user", "content": "1"},), "the tokenizer has no chat template"),
        (TEMPLATE, ({"role": "user", "content": "12345"},), "a prompt has 7 tokens, but .* room for 1 to 6"),
        (None, "1234567", "a prompt has 7 tokens"),
        (None, "", "a prompt has 0 tokens"),
    ],
)
def test_a_prompt_that_cannot_be_encoded(template: str | None, prompt: Any, sentence: str) -> None:
    with pytest.raises(RunError, match=sentence):
        encode(template, prompt)


@pytest.mark.parametrize(
    ("version", "when"), [("init", "in the init"), ("step-3", "at step 3"), ("final", "after the last step")]
)
def test_weights_that_are_not_finite_are_called_so_and_no_engine_is_asked(init: Path, version: str, when: str) -> None:
    setting = make_setting(init, SFT())
    with torch.no_grad():
        setting.model.lm_head.weight[1, 1] = torch.nan
    with pytest.raises(RunError, match=f"^weights are NaN or infinite {when}$"):
        setting.publish(version)
    assert cast(Engines, setting.policy).versions == []


def test_logits_that_overflow_though_weights_are_finite_are_called_so(init: Path) -> None:
    setting = make_setting(init, SFT())
    with torch.no_grad():
        for weight in setting.model.parameters():
            weight.fill_(3e37)
    with pytest.raises(RunError, match=r"^log-probabilities of the policy are NaN or infinite at step 2$"):
        setting.publish("step-2")
