"""Weights that try what floating-point formats have: signed zeros, denormals, extremes, NaN, Inf, empty tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st
from torch import Tensor

INTEGERS: dict[torch.dtype, npt.DTypeLike] = {
    torch.bfloat16: np.int16,
    torch.float16: np.int16,
    torch.float32: np.int32,
    torch.float64: np.int64,
}
DTYPES = tuple(INTEGERS)
SHAPES = ((), (0,), (1,), (7,), (8,), (3, 5), (2, 3, 4), (33,), (2, 0, 3))


def bits(dtype: torch.dtype) -> Any:
    """Any integer that holds a number of ``dtype``; often ±0, a smallest denormal, or one beside the largest."""
    limit = int(np.iinfo(np.dtype(INTEGERS[dtype])).max)
    infinity = int(torch.tensor(math.inf, dtype=dtype).view(getattr(torch, f"int{8 * dtype.itemsize}")))
    special = [sign + size for sign in (0, -limit - 1) for size in (0, 1, infinity - 1, infinity, infinity + 1)]
    return st.one_of(st.sampled_from(special), st.integers(-limit - 1, limit))


def from_bits(values: list[int], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor from the integers that hold it."""
    return torch.from_numpy(np.array(values, dtype=INTEGERS[dtype])).view(dtype).reshape(shape)


@st.composite
def pairs(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An init and a final of one layout: any bits, about half of them the same in both."""
    init, final = {}, {}
    for index in range(draw(st.integers(1, 3))):
        dtype, shape = draw(st.sampled_from(dtypes)), draw(st.sampled_from(SHAPES))
        size = math.prod(shape)
        old = draw(st.lists(bits(dtype), min_size=size, max_size=size))
        new = [draw(st.one_of(st.just(value), bits(dtype))) for value in old]
        init[f"layers.{index}.weight"] = from_bits(old, shape, dtype)
        final[f"layers.{index}.weight"] = from_bits(new, shape, dtype)
    return init, final


def raw(tensor: Tensor) -> list[int]:
    """The bits of a tensor, for comparing exactly (NaN equals NaN, +0 differs from -0)."""
    return tensor.reshape(-1).contiguous().view(getattr(torch, f"int{8 * tensor.itemsize}")).tolist()
