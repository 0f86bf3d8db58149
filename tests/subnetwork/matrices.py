"""Matrices of which the singular values and vectors are known."""

from __future__ import annotations

import torch
from torch import Tensor


def orthonormal(rows: int, columns: int, seed: int) -> Tensor:
    """Random orthonormal columns, fp64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64))[0]


def with_values(values: list[float], rows: int, columns: int, seed: int) -> Tensor:
    """A matrix of these singular values (and zeros)."""
    left, right = orthonormal(rows, len(values), seed), orthonormal(columns, len(values), seed + 1)
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


def random_mask(rows: int, columns: int, density: float, seed: int) -> Tensor:
    """Every coordinate in with probability ``density``, independently."""
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < density


def weights(rows: int, columns: int, seed: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Normal weights of the size that a language model has."""
    return (0.02 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))).to(dtype)


def moved(init: Tensor, scale: float, seed: int) -> Tensor:
    """``init`` after independent normal displacements, rounded to its dtype."""
    noise = torch.randn(init.shape, generator=torch.Generator().manual_seed(seed))
    return (init.float() + scale * noise).to(init.dtype)
