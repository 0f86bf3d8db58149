"""Pair the tensors that the authors' scripts subtract: the parameters of two models, by equal names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from subnetray.checkpoints.checkpoint import Checkpoint
from subnetray.checkpoints.coverage import Skipped
from subnetray.checkpoints.rules.names import embedding_and_head, no_weight
from subnetray.checkpoints.rules.vocabulary import tied_by_config
from subnetray.checkpoints.stored import StoredTensor
from subnetray.config import ConfigError
from subnetray.subnetwork.bits import from_integers
from subnetray.text import shown

_CHUNK = 1 << 22  # coordinates read at a time


@dataclass(frozen=True)
class Parameter:
    """A parameter of the init's model, the tensors that hold it, and the shape of their difference."""

    name: str
    init: str
    final: str
    shape: tuple[int, ...]
    stretched: bool  # whether the two have other shapes, of which torch repeats one

    @property
    def n(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters whose difference the scripts take, in order of layers and names, and what they leave out."""

    init: Checkpoint
    final: Checkpoint
    compared: tuple[Parameter, ...]
    left_out: tuple[Skipped, ...]

    @property
    def n(self) -> int:
        """Coordinates of all differences."""
        return sum(each.n for each in self.compared)

    def delta(self, each: Parameter, dtype: torch.dtype) -> Tensor:
        """Return the whole difference of a parameter, rounded to ``dtype`` as the weights are."""
        old, new = (
            _read(side, name, 0, side.tensor(name).n, dtype).reshape(side.tensor(name).shape)
            for side, name in ((self.init, each.init), (self.final, each.final))
        )
        return new - old

    def deltas(self, each: Parameter, dtype: torch.dtype) -> Iterator[Tensor]:
        """The same difference, flat, some coordinates at a time."""
        if each.stretched:
            yield self.delta(each, dtype).reshape(-1)
            return
        for start in range(0, each.n, _CHUNK):
            stop = min(start + _CHUNK, each.n)
            yield _read(self.final, each.final, start, stop, dtype) - _read(self.init, each.init, start, stop, dtype)


def parameters(init: Checkpoint, final: Checkpoint) -> Parameters:
    """Pair the parameters of two models that transformers would make of these files.

    A model has one parameter for a head that its config ties to the embedding, and its state has it by both names.
    Raises ConfigError for weights that transformers would not load as the numbers that are stored.
    """
    olds, news = _weights(init, "init"), _weights(final, "final")
    embedding, head = embedding_and_head(news)
    old_head = embedding_and_head(olds)[1]
    tied = _tied(final, news)
    if tied and head is not None:
        del news[head]
    init_ties = _tied(init, olds)
    if init_ties and old_head is not None:
        del olds[old_head]
    compared, left_out = [], []
    for name in sorted(olds, key=_place):
        # A head that the final ties is its embedding, under the name by which the scripts look for it.
        other = embedding if tied and name == old_head else name
        old, new = olds[name], news.get(str(other))
        if new is None:
            left_out.append(Skipped(name, "only in the init", old.n))
            continue
        try:
            shape = tuple(torch.broadcast_shapes(new.shape, old.shape))
        except RuntimeError:
            left_out.append(Skipped(name, f"shape {old.shape} in the init, {new.shape} in the final", old.n, new.n))
            continue
        compared.append(Parameter(name, name, new.name, shape, old.shape != new.shape))
    for name in sorted(news.keys() - olds.keys()):
        reason = "its embedding in the init" if init_ties and name == head else "only in the final"
        left_out.append(Skipped(name, reason, 0, news[name].n))
    return Parameters(init, final, tuple(compared), tuple(left_out))


def _weights(side: Checkpoint, label: str) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint that are parameters, as transformers loads them."""
    adapter = next(iter(side.adapters), None)
    if adapter is not None:
        raise ConfigError(f"parity: {shown(adapter)} in the {label} is an adapter, which the scripts do not merge")
    found = {}
    for name, tensor in side.tensors.items():
        if no_weight(tensor) is not None:
            continue
        if tensor.dtype is None or tensor.scales or tensor.decoder or tensor.pieces or tensor.merged:
            raise ConfigError(
                f"parity: {shown(name)} in the {label} is {'merged' if tensor.merged else tensor.stored_as}, of which"
                " the scripts make what transformers makes of it: save the model whole in bfloat16, and name that"
            )
        found[name] = tensor
    return found


def _tied(side: Checkpoint, weights: Mapping[str, StoredTensor]) -> bool:
    """Return whether a model has one parameter for its embedding and its head.

    Where the config says so, a head that is stored all the same is not loaded (transformers 4, of the scripts' time).
    """
    embedding, head = embedding_and_head(weights)
    said = tied_by_config(side)
    return embedding is not None and (head is None if said is None else said)


def _place(name: str) -> tuple[Any, ...]:
    """Layers in order of their numbers."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in name.split("."))


def _read(side: Checkpoint, name: str, start: int, stop: int, dtype: torch.dtype) -> Tensor:
    return from_integers(side.read(name, start, stop, dtype), dtype)
