"""Models that learn beside the policy, each with an optimizer of its own: no part of what a run's update is.

The policy's trainer knows nothing of them, so that neither gradient clipping nor the measured weights include them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from transformers import AutoModel

from subnetray.algorithms.shared.resuming import optimizer_state, resume_optimizer
from subnetray.algorithms.shared.setting import Setting
from subnetray.subnetwork.files.state import State
from subnetray.subnetwork.weights import is_sharded

Batch = Mapping[str, Tensor]  # of rollouts as TRL has them: prompts are padded on the left, completions on the right

_KEYS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")


class AuxiliaryModel:
    """A model trained by AdamW at a constant rate, without weight decay."""

    def __init__(self, model: nn.Module, lr: float, max_grad_norm: float | None, accelerator: Accelerator) -> None:
        self.model = model
        self._max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm
        self._accelerator = accelerator
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)

    def step(self) -> None:
        """Take a step along the gradients that were added up, averaged over the run's workers."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        for parameter in parameters:
            if not is_sharded(parameter):  # those are averaged as they come
                parameter.grad = self._accelerator.reduce(parameter.grad, reduction="mean")
        nn.utils.clip_grad_norm_(parameters, self._max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def kept(self) -> State:
        """Its weights, whole, and its optimizer."""
        state = State(dict(self.model.named_parameters()))
        state.put("optimizer", optimizer_state(self._optimizer))
        return state

    @torch.no_grad()
    def resume(self, state: State) -> None:
        """Go on from there."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(state.tensors[name])
        resume_optimizer(self._optimizer, state.part("optimizer"))

    def autocast(self) -> AbstractContextManager[None]:
        """The precision that the policy computes in."""
        context: AbstractContextManager[None] = self._accelerator.autocast()
        return context


class ValueModel(nn.Module):
    """The init's own decoder and a linear head that starts at 0, so that at first every value is 0.

    A decoder of its own, as is usual: on the policy's, the loss of values would change the very weights that are
    measured.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.body = setting.load(AutoModel)
        self.head = nn.Linear(self.body.config.hidden_size, 1, dtype=setting.model.dtype, device=setting.model.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if setting.shards > 1:  # of the head too each worker holds a part, as one optimizer moves both
            fully_shard(self, mesh=next(self.body.parameters()).device_mesh)

    def forward(self, batch: Batch) -> Tensor:
        """Values before each token of the completions, (sequences, tokens), fp32."""
        ids, mask = _joined(batch)
        hidden = self.body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        values: Tensor = self.head(hidden[:, -batch["completion_ids"].shape[1] - 1 : -1]).squeeze(-1)
        return values.float()


def token_logprobs(model: nn.Module, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of the tokens of the completions, (sequences, tokens), fp32; on padding they mean nothing."""
    ids, mask = _joined(batch)
    tokens = batch["completion_ids"]
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=tokens.shape[1] + 1).logits
    scaled = logits[:, :-1].float() / temperature
    return -nn.functional.cross_entropy(scaled.transpose(1, 2), tokens, reduction="none")


def passes(batch: Batch, size: int) -> Iterator[dict[str, Tensor]]:
    """The prompts and completions of a batch, ``size`` sequences at a time."""
    for start in range(0, len(batch["completion_ids"]), size):
        yield {key: batch[key][start : start + size] for key in _KEYS}


def _joined(batch: Batch) -> tuple[Tensor, Tensor]:
    return (
        torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
        torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
    )
