"""Weights of a vLLM model on a CPU, loaded without taking the model apart.

There vLLM repacks every matrix for the kernels of its processor and drops it, so that its reload first makes all
parameters anew and defers every copy until a layer is whole: of a small model that is most of what it takes. Here the
matrices that were dropped are kept, vLLM's own loaders write to them, and its own method packs each of them again.
Where loaders do nothing but copy whole tensors to places, and fill others with a number, that is done again from the
second time on, without looking for the places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from subnetray.rollout.cpu import private

# Methods of vLLM whose packing is all that loading has to be followed by.
_METHODS = ("UnquantizedLinearMethod", "UnquantizedEmbeddingMethod")


class Packed:
    """The packed layers of ``model``; beside what vLLM holds this takes the memory of their matrices once."""

    def __init__(self, model: Any) -> None:
        self._layers = [layer for layer in model.modules() if hasattr(layer, "cpu_linear")]
        self._dropped = [(layer, private.dropped_weight(layer)) for layer in self._layers if not layer.weight.numel()]
        # What loading calls, looked for before it has begun to change anything.
        self._load = model.load_weights
        self._pack = [layer.quant_method.process_weights_after_loading for layer in self._layers]
        self._writes: _Writes | None = None  # of vLLM's loaders, once they have been watched

    @classmethod
    def of(cls, model: Any) -> Packed | None:
        """Return None for a model with packed parts that are unknown here: quantised, with experts, of another vLLM."""
        return private.tried(lambda: cls(model) if _is_known(model) else None, "subnetray.rollout.cpu.packed")

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Make ``weights``, all of the model's by their names in its checkpoint, those that it computes with."""
        for layer, weight in self._dropped:
            layer.weight = weight
        if self._writes is None:
            with _Watched() as watched:
                self._load(weights.items())
            self._writes = watched.writes(weights)
        elif self._writes.names == weights.keys():
            for place, what in self._writes.places:
                if isinstance(what, str):
                    place.copy_(weights[what])
                else:
                    place.fill_(what)
        else:
            self._load(weights.items())
        for layer, pack in zip(self._layers, self._pack, strict=True):
            pack(layer)


def _is_known(model: Any) -> bool:
    methods = {type(layer.quant_method).__name__ for layer in model.modules() if hasattr(layer, "quant_method")}
    return methods <= set(_METHODS)


@dataclass(frozen=True)
class _Writes:
    """All that loading tensors of ``names`` is: places that take a tensor, by its name, or a number, in this order."""

    names: set[str]
    places: list[tuple[Tensor, str | float]]


class _Watched(TorchDispatchMode):
    """While it is entered: what is copied or filled where, and whether anything else is computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._written: list[tuple[Tensor, Any]] = []
        self._nothing_else = True

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.copy_.default, torch.ops.aten.fill_.Scalar):
            self._written.append((args[0].detach(), args[1]))
        else:
            self._nothing_else &= function.is_view
        return function(*args, **(kwargs or {}))

    def writes(self, weights: Mapping[str, Tensor]) -> _Writes:
        """What to do for other tensors of the same names; none unless each was copied as it was, and no more done."""
        known = {_identity(tensor): name for name, tensor in weights.items()}
        places: list[tuple[Tensor, str | float]] = [
            (place, known.get(_identity(what), "") if isinstance(what, Tensor) else float(what))
            for place, what in self._written
        ]
        names = {what for _, what in places if isinstance(what, str)}
        return _Writes(names, places) if self._nothing_else and names == weights.keys() else _Writes(set(), [])


def _identity(tensor: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()
