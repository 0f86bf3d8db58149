"""The figures of the authors' two scripts, computed as they compute them, one tensor in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from subnetray.checkpoints.authors.parameters import Parameters
from subnetray.text import shown

LAYERS = "model.layers"  # how a name begins that the scripts know the layer of
_NO_MATRIX = "layernorm"  # what a name holds whose rank they do not take

Progress = Callable[[int], None]


@dataclass
class Sparsity:
    """The findings of ``check_sparsity.py``: counts over ``n`` coordinates, and densities by tensor and by layer.

    ``close`` counts the coordinates within a tolerance. ``stops`` says where the script ends with an error, if it does;
    what stands here is what it printed before.
    """

    n: int = 0
    zeros: int = 0
    close: dict[float, int] = field(default_factory=dict)
    densities: dict[str, float] = field(default_factory=dict)
    layers: dict[str, float] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)  # tensors without numbers
    stops: str = ""

    def printed(self) -> list[str]:
        """Return the lines of its figures, as it prints them."""
        if not self.n:
            return []
        lines = [
            f"Deltas shape: torch.Size([{self.n}])",
            f"Percentage of 0 values in the task vector: {self.zeros / self.n:.4f}",
        ]
        for tolerance, count in self.close.items():
            lines.append(f"Tolerance = {tolerance:.0e} -> Fraction close to zero: {count / self.n:.4f}")
        lines.append("Layer-wise sparsity:")
        return lines + [f"Layer {layer}: {density:.4f}" for layer, density in self.layers.items()]


@dataclass(frozen=True)
class MatrixRank:
    """The rank of one difference; a list of them for one of more than two dimensions, by its last two."""

    name: str
    shape: tuple[int, ...]
    rank: int | list[int]
    full: int


@dataclass
class Ranks:
    """The findings of ``update_rank.py``; ``mean`` is None, and ``stops`` says why, where it prints none."""

    matrices: list[MatrixRank] = field(default_factory=list)
    mean: Tensor | None = None
    stops: str = ""

    def printed(self) -> list[str]:
        """Return the line of its mean, as it prints it."""
        return [] if self.mean is None else [str(self.mean)]


def check_sparsity(of: Parameters, dtype: torch.dtype, tolerances: Sequence[float], progress: Progress) -> Sparsity:
    """Find what the script of this name does, given ``--torch_dtype`` and ``--tolerances``."""
    found = Sparsity(close=dict.fromkeys(tolerances, 0))
    for each in of.compared:
        if not each.n:
            found.empty.append(each.name)
            continue
        changed = 0
        for delta in of.deltas(each, dtype):
            # Few: what is 0 is within every tolerance, and need not be looked at again.
            moved = delta[delta != 0]
            changed += moved.numel()
            for tolerance in found.close:
                # As the script asks: torch rounds the tolerance to the dtype of the difference.
                near = torch.isclose(moved, torch.zeros_like(moved), atol=tolerance)
                found.close[tolerance] += delta.numel() - moved.numel() + int(near.sum())
            progress(delta.numel())
        found.n += each.n
        found.zeros += each.n - changed
        found.densities[each.name] = changed / each.n
    if not found.n:
        found.stops = "no tensor is in both"
    else:
        _by_layer(found)
    return found


def _by_layer(found: Sparsity) -> None:
    """Fill in the means of the layers, tensors weighed alike."""
    densities: dict[str, list[float]] = {}
    for name, density in found.densities.items():
        if not name.startswith(LAYERS):
            continue
        number = name.split(".")[2:3]
        if not number or not number[0].isdecimal():
            found.stops = f"{shown(name)} has no number of a layer"
            return
        densities.setdefault(number[0], []).append(density)
    # A plain sum of floats in their order, as the script's: fsum would differ in the last bit.
    found.layers = {layer: sum(densities[layer]) / len(densities[layer]) for layer in sorted(densities, key=int)}


def update_rank(of: Parameters, progress: Progress) -> Ranks:
    """Find what the script of this name would, were it not for the two models that stand in it."""
    found = Ranks()
    shares: list[Tensor] = []
    for each in of.compared:
        if len(each.shape) < 2 or _NO_MATRIX in each.name:
            progress(each.n)
            continue
        delta = of.delta(each, torch.bfloat16).float()
        if not bool(delta.isfinite().all()):
            # Of NaN torch raises an error; of infinities too, or it returns what LAPACK made of them.
            found.stops = f"the difference of {shown(each.name)} is not finite, and has no rank"
            return found
        rank = torch.linalg.matrix_rank(delta)
        full = min(each.shape)
        found.matrices.append(MatrixRank(each.name, each.shape, rank.tolist(), full))
        shares.append(rank / full)  # in fp32
        progress(each.n)
    if not shares:
        found.stops = "no tensor is a matrix in both"
        return found
    try:
        total = shares[0]
        for share in shares[1:]:
            total = total + share
    except RuntimeError:
        found.stops = "tensors of more than two dimensions have several ranks each, of numbers that do not fit"
        return found
    found.mean = total / len(shares)
    return found
