"""Passes of tokens through a vLLM model on a CPU, without the books that vLLM's worker keeps of requests.

The worker serves requests that come and go: of each it looks after tokens, blocks and parameters, and makes of them
what a pass takes, in Python for every request and token. Who passes many sequences at once knows that in a few arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Integers = npt.NDArray[np.int64]


class Passes:
    """Passes through the model of ``runner``, vLLM's for CPUs: what it is given and gives back, as its worker does.

    A sequence has a row of a ``table``: the blocks of the cache that it is kept in, in order.
    """

    def __init__(self, runner: Any) -> None:
        ((group,),) = runner.attn_groups
        self._layers, self._attention = group.layer_names, group.get_metadata_builder()
        self._block_size = group.kv_cache_spec.block_size
        self._config, self._model = runner.vllm_config, runner.model
        for name in self._layers:
            # What is not compiled need not go through PyTorch's dispatcher.
            runner.compilation_config.static_forward_context[name].use_direct_call = True

    def table(self, lengths: Integers) -> Integers:
        """Blocks for sequences that become as long as ``lengths``, each its own."""
        counts = -(-lengths // self._block_size)
        places = np.arange(counts.max())
        blocks = 1 + (counts.cumsum() - counts)[:, None] + places  # the first block of a cache is nobody's
        return np.where(places < counts[:, None], blocks, 0)

    def prompts(self, ids: Integers, lengths: Integers, table: Integers) -> Tensor:
        """Logits after each of the sequences that begin with ``ids``, one after another (sequence, vocabulary)."""
        hidden = self._hidden(ids, np.zeros_like(lengths), lengths, table)
        return self._logits(hidden[torch.from_numpy(lengths.cumsum() - 1)])

    def next(self, ids: Integers, lengths: Integers, table: Integers) -> Tensor:
        """Logits after one more token of each of the sequences, of which as many as ``lengths`` were passed before."""
        return self._logits(self._hidden(ids, lengths, np.ones_like(lengths), table))

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._model.compute_logits(hidden)
        return logits.float()

    def _hidden(self, ids: Integers, before: Integers, counts: Integers, table: Integers) -> Tensor:
        """The model's output for ``counts`` more tokens of each sequence, of which ``before`` were passed."""
        from vllm.forward_context import set_forward_context
        from vllm.v1.attention.backend import CommonAttentionMetadata

        rows, index = _spread(counts)
        positions = before[rows] + index
        block, offset = np.divmod(positions, self._block_size)
        slots = torch.from_numpy(table[rows, block] * self._block_size + offset)
        lengths, ends = before + counts, _int32(np.concatenate([[0], counts.cumsum()]))
        attention = self._attention.build(
            0,
            CommonAttentionMetadata(
                query_start_loc=ends,
                query_start_loc_cpu=ends,
                seq_lens=_int32(lengths),
                num_reqs=counts.size,
                num_actual_tokens=ids.size,
                max_query_len=int(counts.max()),
                max_seq_len=int(lengths.max()),
                block_table_tensor=_int32(table),
                slot_mapping=slots,
            ),
        )
        with set_forward_context(
            dict.fromkeys(self._layers, attention), self._config, slot_mapping=dict.fromkeys(self._layers, slots)
        ):
            hidden: Tensor = self._model(input_ids=torch.from_numpy(ids), positions=torch.from_numpy(positions))
        return hidden


def _spread(counts: Integers) -> tuple[Integers, Integers]:
    """Of ``counts`` elements a row: which row each belongs to, and which one of it it is."""
    rows = np.repeat(np.arange(counts.size), counts)
    return rows, np.arange(rows.size) - (counts.cumsum() - counts)[rows]


def _int32(values: Integers) -> Tensor:
    return torch.from_numpy(values.astype(np.int32))
