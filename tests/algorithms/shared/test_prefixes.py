"""A batch laid out as a forest is the batch: the same tokens see the same, and values and gradients agree."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2ForCausalLM

from subnetray.algorithms.shared.prefixes import Forest, forest, share_prefixes
from subnetray.config import GRPO
from tests.algorithms.lab import make_setting
from tests.decoder import decoder

# Sequences of few different tokens, so that they begin alike; on the left of each some padding.
SEQUENCES = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), min_size=1, max_size=6)), min_size=1, max_size=12
)


def batch(sequences: list[tuple[int, list[int]]]) -> tuple[Any, Any]:
    width = max(left + len(tokens) for left, tokens in sequences)
    ids, mask = np.full((len(sequences), width), 7), np.zeros((len(sequences), width), bool)
    for row, (left, tokens) in enumerate(sequences):
        ids[row, left : left + len(tokens)] = tokens
        mask[row, left : left + len(tokens)] = True
    return ids, mask


def laid_out(sequences: list[tuple[int, list[int]]]) -> Forest:
    found = forest(*batch(sequences))
    assert found is not None
    return found


@given(SEQUENCES)
def test_every_token_sees_just_those_that_lead_to_it(sequences: list[tuple[int, list[int]]]) -> None:
    found = laid_out(sequences)
    visible, width = found.visible(), found.ids.shape[1]
    for row, (left, tokens) in enumerate(sequences):
        places = found.places[row, left : left + len(tokens)]
        assert found.ids.flat[places].tolist() == tokens
        assert found.positions.flat[places].tolist() == list(range(len(tokens)))
        rows, columns = np.divmod(places, width)
        assert len(set(rows.tolist())) == 1
        for depth, column in enumerate(columns):
            assert np.flatnonzero(visible[rows[0], column]).tolist() == columns[: depth + 1].tolist()


@given(SEQUENCES)
def test_in_a_row_nothing_is_there_twice(sequences: list[tuple[int, list[int]]]) -> None:
    found = laid_out(sequences)
    width = found.ids.shape[1]
    rows: dict[int, set[tuple[int, ...]]] = {}
    places: dict[int, set[int]] = {}
    for row, (left, tokens) in enumerate(sequences):
        for depth in range(len(tokens)):
            place = int(found.places[row, left + depth])
            rows.setdefault(place // width, set()).add(tuple(tokens[: depth + 1]))
            places.setdefault(place // width, set()).add(place)
    assert {row: len(found) for row, found in rows.items()} == {row: len(found) for row, found in places.items()}
    assert sorted(rows) == list(range(len(found.ids)))


def test_rollouts_of_one_prompt_share_it_and_what_they_begin_with() -> None:
    found = laid_out([(0, [1, 2, 3, 5]), (0, [1, 2, 3, 4, 6]), (0, [1, 2, 3, 4, 6]), (1, [1, 2, 3, 4])])
    assert found.ids.tolist() == [[1, 2, 3, 4, 6, 5]]
    assert found.positions.tolist() == [[0, 1, 2, 3, 4, 3]]
    assert found.places.tolist() == [[0, 1, 2, 5, 0], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 0, 1, 2, 3]]


@pytest.mark.parametrize("mask", [[[1, 0, 1], [1, 1, 1]], [[0, 0, 0], [1, 1, 1]]])
def test_a_sequence_with_a_hole_or_without_tokens_is_not_laid_out(mask: list[list[int]]) -> None:
    assert forest(np.ones((2, 3), int), np.array(mask, bool)) is None


class _Watched:
    """A model of two copies: one plain, one that shares; and the shapes that the latter's layers were given."""

    def __init__(self) -> None:
        # As large as what the embedded model's tensors hold: a mistake in a mask is far larger than rounding.
        torch.manual_seed(0)
        self.plain = decoder()
        with torch.no_grad():
            for parameter in self.plain.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        self.sharing = copy.deepcopy(self.plain)
        share_prefixes(self.sharing)
        self.shapes: list[tuple[int, ...]] = []
        self.sharing.model.embed_tokens.register_forward_pre_hook(
            lambda _, inputs: self.shapes.append(tuple(inputs[0].shape))
        )


@settings(deadline=None, max_examples=40)
@given(SEQUENCES, st.integers(0, 2**32 - 1))
def test_values_and_gradients_are_those_of_the_batch(sequences: list[tuple[int, list[int]]], seed: int) -> None:
    models = _Watched()
    ids, mask = (torch.from_numpy(part).long() for part in batch(sequences))
    weights = torch.randn((*ids.shape, 16), generator=torch.Generator().manual_seed(seed)) * mask[..., None]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    values = []
    for model, more in ((models.plain, {"position_ids": positions}), (models.sharing, {})):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **more).logits
        (logits * weights).sum().backward()
        values.append(logits.detach() * mask[..., None])
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-4)
    for one, other in zip(models.plain.parameters(), models.sharing.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_so_in_bf16_too_whichever_way_attention_is_computed(attention: str, dtype: torch.dtype) -> None:
    """... as nearly as bf16 can be."""
    models = _Watched()
    ids, mask = (torch.from_numpy(part).long() for part in batch([(n % 3, [1, 2, n % 2, 1, n % 4]) for n in range(9)]))
    values = []
    for model in (models.plain, models.sharing):
        model.config._attn_implementation = attention
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.to(dtype)(input_ids=ids, attention_mask=mask, use_cache=False).logits
        (logits.float() * mask[..., None]).sum().backward()
        values.append(logits.detach().float() * mask[..., None])
    assert values[0].abs().max() > 1
    torch.testing.assert_close(values[0], values[1], rtol=0.05, atol=0.1)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in models.sharing.parameters())
    assert models.shapes == [(1, 10)]


def test_it_is_done_where_it_saves_something_and_nothing_else_is_asked_for() -> None:
    models = _Watched()
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 4]])
    mask = torch.ones_like(ids)
    alone = torch.tensor([[1, 2], [3, 4]])
    asked: list[dict[str, Any]] = [
        {"input_ids": ids, "attention_mask": mask, "use_cache": False},
        {"input_ids": ids, "attention_mask": mask, "use_cache": False, "output_hidden_states": True},
        {"input_ids": ids, "attention_mask": mask, "use_cache": True},
        {"input_ids": ids, "use_cache": False},
        {"input_ids": ids, "attention_mask": mask, "use_cache": False, "position_ids": mask.cumsum(1) - 1},
        {"input_ids": alone, "attention_mask": torch.ones_like(alone), "use_cache": False},
    ]
    for kwargs in asked:
        models.sharing(**kwargs)
    assert models.shapes == [(1, 5), (3, 4), (3, 4), (3, 4), (3, 4), (2, 2)]


def test_models_that_are_not_known_to_allow_it_are_left_alone() -> None:
    unknown = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=16, n_embd=8, n_layer=1, n_head=1))
    dropping, sliding = decoder(), decoder()
    dropping.config.attention_dropout = 0.1
    sliding.config.sliding_window = 4
    for model in (unknown, dropping, sliding):
        share_prefixes(model)
        assert not model.base_model._forward_pre_hooks


def test_the_models_of_a_run_on_the_cpu_do_it(init: Path) -> None:

    setting = make_setting(init, GRPO(steps=1))
    for model in (setting.model, setting.load(), setting.load(Qwen2ForCausalLM)):
        assert len(model.base_model._forward_pre_hooks) == 1
