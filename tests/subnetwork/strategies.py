"""Weights that try what floating-point formats have: signed zeros, denormals, extremes, NaN, Inf, empty tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_INTEGERS: dict[torch.dtype, type[np.int16] | type[np.int32]] = {torch.bfloat16: np.int16, torch.float16: np.int16, torch.float32: np.int32}
SHAPES = ((), (0,), (1,), (7,), (8,), (3, 5), (2, 3, 4), (33,))


def _bits(dtype: torch.dtype) -> Any:
    info = np.iinfo(_INTEGERS[dtype])
    special = [0, info.min, 1, info.min + 1]  # +0, -0, the smallest denormals
    return st.one_of(st.sampled_from(special), st.integers(int(info.min), int(info.max)))


def from_bits(values: list[int], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor from the integers that hold it."""
    return torch.from_numpy(np.array(values, dtype=_INTEGERS[dtype])).view(dtype).reshape(shape)


@st.composite
def pairs(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An init and a final of one layout: any bits, about half of them the same in both."""
    init, final = {}, {}
    for index in range(draw(st.integers(1, 3))):
        dtype, shape = draw(st.sampled_from(dtypes)), draw(st.sampled_from(SHAPES))
        size = int(np.prod(shape))
        old = draw(st.lists(_bits(dtype), min_size=size, max_size=size))
        new = [draw(st.one_of(st.just(value), _bits(dtype))) for value in old]
        init[f"layers.{index}.weight"] = from_bits(old, shape, dtype)
        final[f"layers.{index}.weight"] = from_bits(new, shape, dtype)
    return init, final


def raw(tensor: Tensor) -> list[int]:
    """The bits of a tensor, for comparing exactly (NaN equals NaN, +0 differs from -0)."""
    width = {2: torch.int16, 4: torch.int32}[tensor.element_size()]
    return [int(value) for value in tensor.reshape(-1).contiguous().view(width)]
