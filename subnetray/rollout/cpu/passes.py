"""Passes of tokens through a vLLM model on a CPU, without the books that vLLM's worker keeps of requests.

The worker serves requests that come and go: of each it looks after tokens, blocks and parameters, and makes of them
what a pass takes, in Python for every request and token. Who passes many sequences at once knows that in a few arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from subnetray.rollout.cpu import private

Integers = npt.NDArray[np.int64]

_KEEP = "do_kv_cache_update"  # of vLLM's attention: writes keys and values to the cache

# Rows are passed in multiples of this many. To multiply another number of them oneDNN first makes code, in half a
# millisecond a matrix, and keeps only so much of it.
_ROWS = 16


class _Kept(NamedTuple):
    """The slots of the cache that keep what a pass gives, and the tokens among those passed that give it."""

    slots: Tensor
    sources: Tensor | slice


class Passes:
    """Passes through the model of ``runner``, vLLM's for CPUs: what it is given and gives back, as its worker does.

    A sequence has a row of a ``table``: the blocks of the cache that it is kept in, in order.
    """

    def __init__(self, runner: Any) -> None:
        ((group,),) = runner.attn_groups
        self._layers, self._attention = group.layer_names, group.get_metadata_builder()
        self._block_size = group.kv_cache_spec.block_size
        self._config, self._model = runner.vllm_config, runner.model
        self._context, self._metadata = private.forward_context(), private.attention_metadata()
        self._sources: Tensor | slice = slice(None)
        self._changed = ExitStack()
        with ExitStack() as changed:
            for name in self._layers:
                layer = runner.compilation_config.static_forward_context[name]
                keep = self._keeping(getattr(layer.impl, _KEEP))
                # What is not compiled need not go through PyTorch's dispatcher.
                for owner, attribute, value in ((layer, "use_direct_call", True), (layer.impl, _KEEP, keep)):
                    changed.callback(_restore, owner, attribute, vars(owner).get(attribute, _restore))
                    setattr(owner, attribute, value)
            self._changed = changed.pop_all()

    def close(self) -> None:
        """Leave the model as it was: vLLM's worker passes tokens from now on."""
        self._changed.close()

    def table(self, lengths: Integers) -> Integers:
        """Blocks for sequences that become as long as ``lengths``, each its own."""
        counts = -(-lengths // self._block_size)
        places = np.arange(counts.max())
        blocks = 1 + (counts.cumsum() - counts)[:, None] + places  # the first block of a cache is nobody's
        return np.where(places < counts[:, None], blocks, 0)

    def prompts(self, prompts: Sequence[Sequence[int]], table: Integers) -> Tensor:
        """Logits after each of ``prompts`` (prompt, vocabulary); of equal ones the first is passed for all."""
        keys = [tuple(prompt) for prompt in prompts]
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        which = np.array([places[key] for key in keys])
        ids = np.fromiter(chain.from_iterable(places), np.int64)
        lengths = np.array([len(key) for key in places])
        ends = lengths.cumsum()
        rows, positions = _spread(lengths[which])
        sources = torch.from_numpy((ends - lengths)[which][rows] + positions)
        _, firsts = np.unique(which, return_index=True)
        slots = self._slots(rows, positions, table)
        hidden = self._pass(ids, np.zeros_like(lengths), lengths, table[firsts], _Kept(slots, sources))
        return self._logits(hidden[_whole(ends - 1)], ends.size)[torch.from_numpy(which)]

    def next(self, ids: Integers, lengths: Integers, table: Integers) -> Tensor:
        """Logits after one more token of each of the sequences, of which as many as ``lengths`` were passed before."""
        slots = self._slots(np.arange(ids.size), lengths, table)
        hidden = self._pass(ids, lengths, np.ones_like(lengths), table, _Kept(slots, slice(ids.size)))
        return self._logits(hidden, ids.size)

    def text(self, ids: Integers) -> Tensor:
        """Logits after each token of one sequence (token, vocabulary)."""
        length = np.array([ids.size])
        table = self.table(length)
        slots = self._slots(*_spread(length), table)
        kept = _Kept(slots, slice(ids.size))
        return self._logits(self._pass(ids, np.zeros_like(length), length, table, kept), ids.size)

    def _logits(self, hidden: Tensor, count: int) -> Tensor:
        logits: Tensor = self._model.compute_logits(hidden)
        return logits[:count].float()

    def _keeping(self, keep: Callable[..., None]) -> Callable[..., None]:
        """Return what has vLLM write to ``slots`` of the cache what their sources in the pass have given."""

        def kept(layer: Any, keys: Tensor, values: Tensor, cache: Tensor, slots: Tensor) -> None:
            keep(layer, keys[self._sources], values[self._sources], cache, slots)

        return kept

    def _slots(self, rows: Integers, positions: Integers, table: Integers) -> Tensor:
        """Where the cache keeps the tokens at ``positions`` of sequences, by the rows of their ``table``."""
        block, offset = np.divmod(positions, self._block_size)
        return torch.from_numpy(table[rows, block] * self._block_size + offset)

    def _pass(self, ids: Integers, before: Integers, counts: Integers, table: Integers, kept: _Kept) -> Tensor:
        """The model's output for ``counts`` more tokens of each sequence, of which ``before`` were passed.

        Rows that mean nothing follow.
        """
        rows, index = _spread(counts)
        positions = before[rows] + index
        lengths, ends = before + counts, _int32(np.concatenate([[0], counts.cumsum()]))
        attention = self._attention.build(
            0,
            self._metadata(
                query_start_loc=ends,
                query_start_loc_cpu=ends,
                seq_lens=_int32(lengths),
                num_reqs=counts.size,
                num_actual_tokens=ids.size,
                max_query_len=int(counts.max()),
                max_seq_len=int(lengths.max()),
                block_table_tensor=_int32(table),
                slot_mapping=kept.slots,
            ),
        )
        self._sources = kept.sources
        try:
            with self._context(
                dict.fromkeys(self._layers, attention),
                self._config,
                slot_mapping=dict.fromkeys(self._layers, kept.slots),
            ):
                hidden: Tensor = self._model(input_ids=_whole(ids), positions=_whole(positions))
        finally:
            self._sources = slice(None)
        return hidden


def _restore(owner: Any, attribute: str, value: Any) -> None:
    if value is _restore:  # it was not the object's own
        delattr(owner, attribute)
    else:
        setattr(owner, attribute, value)


def _spread(counts: Integers) -> tuple[Integers, Integers]:
    """Of ``counts`` elements a row: which row each belongs to, and which one of it it is."""
    rows = np.repeat(np.arange(counts.size), counts)
    return rows, np.arange(rows.size) - (counts.cumsum() - counts)[rows]


def _int32(values: Integers) -> Tensor:
    return torch.from_numpy(values.astype(np.int32))


def _whole(values: Integers) -> Tensor:
    """``values`` and zeros up to a multiple of ``_ROWS``."""
    whole = np.zeros(-(-values.size // _ROWS) * _ROWS, np.int64)
    whole[: values.size] = values
    return torch.from_numpy(whole)
