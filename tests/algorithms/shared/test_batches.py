"""Batches are those that TRL's own collators make of the same data, bit for bit; trainers take them in their order."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray import algorithms
from subnetray.algorithms.shared import batches
from subnetray.algorithms.shared.batches import Row
from subnetray.algorithms.shared.setting import Example
from subnetray.config import DPO, KTO, ORPO, SFT, Algorithm, SimPO
from tests.algorithms.lab import make_setting

PAD = 7
tokens = st.lists(st.integers(0, 9), max_size=4)
example = st.builds(Example, st.lists(st.integers(0, 9), min_size=1, max_size=5), tokens)
logps = st.floats(-50, 0, width=32)


@st.composite
def rows(draw: st.DrawFn, desirable: bool) -> list[Row]:
    """Of pairs with a prompt in common."""
    drawn = draw(st.lists(st.tuples(example, tokens, logps, logps, st.booleans()), min_size=1, max_size=6))
    return [
        Row((one, Example(one.prompt, other)), good or not desirable, (first, second))
        for one, other, first, second, good in drawn
    ]


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(found) == set(expected)
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype, key
        assert torch.equal(found[key], tensor), key


@given(st.lists(example, min_size=1, max_size=6))
def test_examples(drawn: list[Example]) -> None:
    collate = import_module("trl.trainer.sft_trainer").DataCollatorForLanguageModeling(pad_token_id=PAD)
    given = [
        {"input_ids": each.prompt + each.completion, "labels": [-100] * len(each.prompt) + each.completion}
        for each in drawn
    ]
    same(batches.labelled(drawn, PAD), collate(given))


@given(rows(desirable=False))
def test_pairs(drawn: list[Row]) -> None:
    collate = import_module("trl.trainer.dpo_trainer").DataCollatorForPreference(pad_token_id=PAD)
    given = [
        {
            "prompt_ids": row.examples[0].prompt,
            "chosen_ids": row.examples[0].completion,
            "rejected_ids": row.examples[1].completion,
            "ref_chosen_logps": row.reference[0],
            "ref_rejected_logps": row.reference[1],
        }
        for row in drawn
    ]
    same(batches.paired(drawn, PAD), collate(given))


@given(rows(desirable=True))
def test_judged_completions(drawn: list[Row]) -> None:
    collate = import_module("trl.trainer.kto_trainer").DataCollatorForUnpairedPreference(pad_token_id=PAD)
    given = [
        {
            "prompt_ids": row.examples[0].prompt,
            "completion_ids": row.examples[0].completion,
            "KL_completion_ids": row.examples[1].completion,
            "label": row.desirable,
            "ref_logps": row.reference[0],
            "ref_KL_logps": row.reference[1],
        }
        for row in drawn
    ]
    same(batches.judged(drawn, PAD), collate(given))


@given(rows(desirable=False))
def test_pairs_apart(drawn: list[Row]) -> None:
    collate = import_module("trl.experimental.utils").DPODataCollatorWithPadding(pad_token_id=PAD)
    pairs = [row.examples for row in drawn]
    given = []
    for pair in pairs:
        columns = {}
        for name, each in zip(("chosen", "rejected"), pair, strict=True):
            ids = each.prompt + each.completion
            columns[f"{name}_input_ids"] = ids
            columns[f"{name}_attention_mask"] = [1] * len(ids)
            columns[f"{name}_labels"] = [-100] * len(each.prompt) + each.completion
        given.append(columns)
    same(batches.apart(pairs, PAD), collate(given))


@pytest.mark.parametrize("schema", [SFT, DPO, KTO, ORPO, SimPO])
def test_data_come_in_their_order(init: Path, schema: type[Algorithm]) -> None:
    name = schema.name
    data = "gold" if name == "sft" else "off_policy"
    setting = make_setting(init, schema(steps=3, batch_size=4, **{"data": data}))  # type: ignore[arg-type]
    trainer = algorithms.build(setting)
    ids = {"orpo": "chosen_input_ids", "simpo": "chosen_input_ids"}.get(name, "input_ids")
    mask = ids.replace("input_ids", "attention_mask")
    found = [
        row[kept.bool()].tolist()
        for batch in trainer.get_train_dataloader()
        for row, kept in zip(batch[ids][:4], batch[mask][:4], strict=True)
    ]
    examples = setting.data.examples if name in ("sft", "kto") else setting.data.examples[::2]
    assert found == [each.prompt + each.completion for each in examples]


def test_a_tokenizer_without_padding_pads_with_its_end(init: Path) -> None:
    tokenizer = make_setting(init, SFT()).tokenizer
    pad = tokenizer.pad_token_id
    assert batches.pad_id(tokenizer) == pad != tokenizer.eos_token_id
    tokenizer.pad_token = None
    assert batches.pad_id(tokenizer) == tokenizer.eos_token_id == tokenizer.pad_token_id
