"""What is put in the place of TRL's own does what that does."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.algorithms.shared import trl_patches
from subnetray.private import Gone
from tests.decoder import decoder

utilities: Any = import_module("trl.trainer.utils")


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6),
    st.sampled_from(["left", "right"]),
    st.sampled_from([None, 1, 4]),
)
def test_rows_are_padded_as_trl_pads_them(rows: list[list[int]], side: str, multiple: int | None) -> None:
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    found = trl_patches.pad(tensors, padding_value=-1, padding_side=side, pad_to_multiple_of=multiple)
    assert torch.equal(found, trl_patches._pad(tensors, -1, side, multiple))


def test_matrices_are_padded_by_trl() -> None:
    tensors = [torch.ones(2, 3), torch.ones(1, 4)]
    assert torch.equal(trl_patches.pad(tensors), trl_patches._pad(tensors))


def test_trainers_pad_so() -> None:
    for trainer in ("grpo", "rloo", "sft", "dpo", "kto"):
        assert import_module(f"trl.trainer.{trainer}_trainer").pad is trl_patches.pad


def test_logits_are_of_completions_alone() -> None:
    """A head of a batch with a label for its last token alone computes that token's logits alone."""
    model = decoder()
    utilities.add_fused_lm_head(model)
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    labels = torch.tensor([[-100, -100, 5], [-100, -100, 8]])
    rows: list[int] = []
    real = utilities._ChunkedLogProbFunction

    def apply(hidden: torch.Tensor, *rest: Any) -> Any:
        rows.append(len(hidden))
        return real.apply(hidden, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "_ChunkedLogProbFunction", SimpleNamespace(apply=apply))
        found = model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs
    assert rows == [2]
    expected = model(input_ids=ids).logits[:, 1].log_softmax(-1).gather(1, ids[:, 2:])
    torch.testing.assert_close(found[:, 1:], expected)
    assert not found[:, 0].any()


@pytest.mark.parametrize(("vocabulary", "logits"), [(16, 16), (32768, 32768), (151936, 32768)])
def test_there_is_room_for_as_many_logits_as_there_are(
    vocabulary: int, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utilities, "_CHUNKED_LOGPROB_CHUNK_SIZE", utilities._CHUNKED_LOGPROB_CHUNK_SIZE)
    trl_patches.fit_head(vocabulary)
    assert logits == utilities._CHUNKED_LOGPROB_CHUNK_SIZE


_PATCHES: dict[str, Callable[[], None]] = {
    "trl.import_utils.is_vllm_available": trl_patches.leave_vllm_out,
    "trl.trainer.utils.pad": trl_patches.pad_at_once,
    "trl.trainer.utils._use_triton": trl_patches.skip_logits_of_prompts,
    "trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE": lambda: trl_patches.fit_head(16),
}


@pytest.mark.parametrize("name", _PATCHES)
def test_what_trl_lacks_is_left_as_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module, _, last = name.rpartition(".")
    with monkeypatch.context() as patch:
        patch.delattr(import_module(module), last)
        _PATCHES[name]()
        assert not hasattr(import_module(module), last)
    assert f"has no {name}: " in caplog.text


def test_logits_of_prompts_are_dropped_where_they_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """... so that what comes out is the same without that patch."""
    model = decoder()
    utilities.add_fused_lm_head(model)
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    labels = torch.tensor([[-100, -100, 5], [-100, -100, 8]])
    few = model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs
    monkeypatch.setattr(utilities, "_use_triton", lambda device: False)
    all_of_them = model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs
    torch.testing.assert_close(few, all_of_them)


@pytest.mark.parametrize("method", ["_compute_loss", "_get_per_token_logps_and_entropies", "_calculate_rewards"])
def test_a_method_that_is_no_longer_called_is_an_error(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """... before anything is trained by another loss."""
    from trl import GRPOTrainer

    from subnetray.algorithms.shared.on_policy import EngineGRPOTrainer

    for kind in GRPOTrainer.__mro__:
        if method in vars(kind):
            monkeypatch.delattr(kind, method)
    nothing: Any = None
    with pytest.raises(Gone, match=rf"^trl [\d.]+ has no trl\.GRPOTrainer\.{method}$"):
        EngineGRPOTrainer(nothing)
