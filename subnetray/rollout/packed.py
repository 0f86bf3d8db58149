"""Weights of a vLLM model on a CPU, loaded without taking the model apart.

There vLLM repacks every matrix for the kernels of its processor and drops it, so that its reload first makes all
parameters anew and defers every copy until a layer is whole: of a small model that is most of what it takes. Here the
matrices that were dropped are kept, vLLM's own loaders write to them, and its own method packs each of them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# Methods whose packing is all that loading has to be followed by.
_METHODS = ("UnquantizedLinearMethod", "UnquantizedEmbeddingMethod")


class Packed:
    """The packed layers of ``model``; beside what vLLM holds this takes the memory of their matrices once."""

    def __init__(self, model: Any) -> None:
        from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info
        from vllm.model_executor.model_loader.reload.meta import materialize_meta_tensor
        from vllm.model_executor.model_loader.reload.sanitize import restore_layer_refs

        def whole(layer: Any) -> Any:
            """As vLLM itself remembers what it dropped: its shape, its loader and their attributes, no values."""
            kept = get_layerwise_info(layer).restore_metadata[0]["weight"]
            return materialize_meta_tensor(restore_layer_refs(kept, layer))

        self._model = model
        self._layers = [layer for layer in model.modules() if hasattr(layer, "cpu_linear")]
        self._dropped = [(layer, whole(layer)) for layer in self._layers if not layer.weight.numel()]

    @classmethod
    def of(cls, model: Any) -> Packed | None:
        """None for a model of which not all that is packed is known here: quantised, or with experts."""
        methods = {type(layer.quant_method).__name__ for layer in model.modules() if hasattr(layer, "quant_method")}
        return cls(model) if methods <= set(_METHODS) else None

    @torch.no_grad()
    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Make ``weights``, all of the model's by their names in its checkpoint, those that it computes with."""
        for layer, weight in self._dropped:
            layer.weight = weight
        self._model.load_weights(weights.items())
        for layer in self._layers:
            layer.quant_method.process_weights_after_loading(layer)
