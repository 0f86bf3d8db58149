"""Weights as the integers that hold them: the one place that knows how floating-point formats are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: sign, then exponent, then ``mantissa_bits`` bits of mantissa."""

    integer: torch.dtype
    mantissa_bits: int


FORMATS = {
    torch.bfloat16: Format(torch.int16, 7),
    torch.float16: Format(torch.int16, 10),
    torch.float32: Format(torch.int32, 23),
    torch.float64: Format(torch.int64, 52),
}


def float_format(dtype: torch.dtype) -> Format:
    """Layout of ``dtype``; raises ``TypeError`` unless it is bfloat16, float16, float32 or float64."""
    try:
        return FORMATS[dtype]
    except KeyError:
        raise TypeError(f"weights must be bfloat16, float16, float32 or float64, not {dtype}") from None


def integer_type(dtype: torch.dtype) -> np.dtype[Any]:
    """numpy's type of the integers that hold numbers of ``dtype``."""
    return np.dtype(str(float_format(dtype).integer).removeprefix("torch."))


def integers(tensor: Tensor) -> Tensor:
    """View of ``tensor`` (same shape, same memory) as signed integers of the same width."""
    return tensor.detach().view(float_format(tensor.dtype).integer)


def flat_integers(tensor: Tensor) -> npt.NDArray[Any]:
    """The bits of ``tensor`` as a flat host array in C order; shares its memory where that is possible."""
    return integers(tensor).reshape(-1).contiguous().cpu().numpy()


def ordered_integers(tensor: Tensor) -> npt.NDArray[Any]:
    """Unsigned integers of the same width, flat, in the order of the numbers: ±0 are one, a NaN lies outside of all."""
    bits = flat_integers(tensor + 0.0)  # which leaves no −0
    kind = np.dtype(f"u{bits.itemsize}").type
    sign = kind(1 << (8 * bits.itemsize - 1))
    unsigned = bits.view(kind)
    return np.where(unsigned & sign, ~unsigned, unsigned | sign)


def from_integers(array: npt.NDArray[Any], dtype: torch.dtype) -> Tensor:
    """Inverse of :func:`flat_integers`: a tensor of ``dtype`` that shares the memory of ``array``."""
    return torch.from_numpy(array).view(dtype)


def exponents(tensor: Tensor) -> npt.NDArray[np.uint16]:
    """Biased exponent of every |coordinate|, flat; 0 for zeros and denormals, the highest for NaN and Inf.

    Coordinates of one exponent share one ULP, save that the step down from an exact power of two is half of it.
    """
    bits = flat_integers(tensor)
    magnitude = bits & np.iinfo(bits.dtype).max
    return (magnitude >> float_format(tensor.dtype).mantissa_bits).astype(np.uint16)


# Of a coordinate's way to the nearest boundary: bins an octave, and how many, from half a ULP down to 2⁻¹¹ of one.
_BINS, _LAST = 2, 20


def boundary_bins(tensor: Tensor, dtype: torch.dtype) -> npt.NDArray[np.uint16]:
    """Bin every coordinate, flat, by how near it lies to where it rounds to another value of ``dtype``: 0 to 20.

    Two bins an octave of the distance: 0 for half a ULP, as of all that ``dtype`` holds exactly, 20 for less than 2⁻¹⁰
    of that. Among coordinates of one exponent it decides how small an update is visible.
    """
    exact = tensor.detach().reshape(-1).double().cpu()
    rounded = exact.to(dtype).double()
    _, exponent = torch.frexp(rounded)
    least = int(torch.frexp(torch.tensor(torch.finfo(dtype).tiny, dtype=torch.float64))[1])
    ulp = torch.ldexp(torch.ones_like(exact), exponent.clamp(min=least) - 1 - float_format(dtype).mantissa_bits)
    share = 1 - 2 * (exact - rounded).abs() / ulp  # of half a ULP
    bins = torch.floor(-_BINS * torch.log2(share.clamp(min=2.0 ** (-_LAST / _BINS))))
    return bins.nan_to_num(nan=0.0, posinf=0.0).clamp(0, _LAST).numpy().astype(np.uint16)
