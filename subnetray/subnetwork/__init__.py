"""Pure tensor code: what changed between an init and a final, and how much of it two runs share.

Tensors in, dataclasses out; nothing here imports Ray, TRL, vLLM, W&B or transformers.
"""

from __future__ import annotations

from subnetray.subnetwork.delta import Delta, DeltaError, compose
from subnetray.subnetwork.mask import Mask
from subnetray.subnetwork.nulls import PairCounts, Strata, pair_counts, tensor_strata, ulp_strata
from subnetray.subnetwork.overlap import Agreement, Overlap, OverlapCounts, agreement, statistics
from subnetray.subnetwork.storage import CorruptFileError
from subnetray.subnetwork.visible import Comparison, MismatchError, compare, count_changed
from subnetray.subnetwork.weights import Weights, named_weights, weights_hash

__all__ = [
    "Agreement",
    "Comparison",
    "CorruptFileError",
    "Delta",
    "DeltaError",
    "Mask",
    "MismatchError",
    "Overlap",
    "OverlapCounts",
    "PairCounts",
    "Strata",
    "Weights",
    "agreement",
    "compare",
    "compose",
    "count_changed",
    "named_weights",
    "pair_counts",
    "statistics",
    "tensor_strata",
    "ulp_strata",
    "weights_hash",
]
