"""The authors' two scripts, written anew from what they do: numbers one by one in Python, ranks in fp64.

Nothing here is shared with ``subnetray.checkpoints.authors``. Figures are in the words of the scripts; what these print
of tensors that they leave out is not here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def rounded(value: float, dtype: torch.dtype) -> float:
    """A number in ``dtype`` as torch gets there, by way of fp32; ties go to even."""
    if not np.isfinite(value):
        return value
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    if dtype == torch.bfloat16:
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    (single,) = struct.unpack("<f", struct.pack("<I", bits))
    return float(np.float16(single)) if dtype == torch.float16 else float(single)


def differences(init: Weights, final: Weights, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """Every difference that can be taken, of what both have been rounded to ``dtype``."""
    found = {}
    for name, tensor in init.items():
        if name not in final:
            continue
        try:
            pair = np.broadcast_arrays(*(each.detach().to(dtype).double().numpy() for each in (final[name], tensor)))
        except ValueError:
            continue
        new, old = (each.ravel().tolist() for each in pair)
        flat = [rounded(a - b, dtype) for a, b in zip(new, old, strict=True)]
        found[name] = np.array(flat, np.float64).reshape(pair[0].shape)
    return found


def sparsity(init: Weights, final: Weights, tolerances: Sequence[float], dtype: torch.dtype) -> list[str]:
    """Return what ``check_sparsity.py`` prints of its figures."""
    moved = {name: delta for name, delta in differences(init, final, dtype).items() if delta.size}
    every = [float(value) for delta in moved.values() for value in delta.ravel()]
    lines = [f"Deltas shape: torch.Size([{len(every)}])"]
    zeros = sum(value == 0 for value in every)
    lines.append(f"Percentage of 0 values in the task vector: {zeros / len(every):.4f}")
    for tolerance in tolerances:
        near = sum(abs(value) <= rounded(tolerance, dtype) for value in every)
        lines.append(f"Tolerance = {tolerance:.0e} -> Fraction close to zero: {near / len(every):.4f}")
    layers: dict[int, list[float]] = {}
    for name, delta in moved.items():
        if name.startswith("model.layers"):
            share = sum(float(value) != 0 for value in delta.ravel()) / delta.size
            layers.setdefault(int(name.split(".")[2]), []).append(share)
    lines.append("Layer-wise sparsity:")
    return lines + [f"Layer {layer}: {sum(shares) / len(shares):.4f}" for layer, shares in sorted(layers.items())]


def ranks(init: Weights, final: Weights) -> dict[str, tuple[int, int]]:
    """Rank and full rank of every matrix that ``update_rank.py`` takes."""
    found = {}
    for name, delta in differences(init, final, torch.bfloat16).items():
        if "layernorm" not in name and delta.ndim == 2:
            values = np.linalg.svd(delta, compute_uv=False)
            least = values.max(initial=0) * max(delta.shape) * float(np.finfo(np.float32).eps)
            found[name] = int((values > least).sum()), min(delta.shape)
    return found


def mean_rank(init: Weights, final: Weights) -> str:
    """Return what ``update_rank.py`` prints last."""
    total = np.float32(0)
    found = ranks(init, final)
    for rank, full in found.values():
        total += np.float32(rank) / np.float32(full)
    return str(torch.tensor(total / np.float32(len(found))))
