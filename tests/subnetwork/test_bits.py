"""Floating-point layouts against what torch and numpy say of the same formats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork.bits import boundary_bins, exponents, flat_integers, float_format, from_integers, integers
from tests.subnetwork.strategies import DTYPES, pairs, raw


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_format_is_what_torch_knows_of_it(dtype: torch.dtype) -> None:
    layout = float_format(dtype)
    assert 2.0**-layout.mantissa_bits == torch.finfo(dtype).eps
    assert layout.integer.itemsize == dtype.itemsize


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_other_dtypes_are_no_weights(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=rf"weights must be bfloat16, .*, not {dtype}"):
        flat_integers(torch.zeros(2).to(dtype))


@given(pair=pairs())
def test_bits_make_the_round_trip_whatever_they_are(pair: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    for tensor in pair[0].values():
        flat = flat_integers(tensor)
        assert flat.tolist() == raw(tensor)
        back = from_integers(flat, tensor.dtype)
        assert back.dtype == tensor.dtype
        assert raw(back) == raw(tensor)
        assert integers(tensor).shape == tensor.shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_c_order_whatever_the_strides_and_no_copy_where_none_is_needed(dtype: torch.dtype) -> None:
    matrix = torch.arange(6.0).reshape(2, 3).to(dtype)
    assert flat_integers(matrix.T).tolist() == raw(matrix.T.contiguous())
    assert flat_integers(matrix[:, 1]).tolist() == raw(torch.tensor([1.0, 4.0], dtype=dtype))
    assert flat_integers(torch.tensor(1.0, dtype=dtype).expand(3)).tolist() == raw(torch.ones(3, dtype=dtype))
    flat_integers(matrix)[0] = raw(torch.tensor(7.0, dtype=dtype))[0]
    assert matrix[0, 0] == 7
    array = flat_integers(torch.zeros(2, dtype=dtype))
    from_integers(array, dtype)[1] = 1
    assert array[1] != 0


def test_a_parameter_is_read_without_its_graph() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    assert not integers(parameter).requires_grad
    assert flat_integers(parameter).tolist() == raw(torch.ones(2))


@given(pair=pairs())
def test_exponents_are_those_of_frexp(pair: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    """frexp writes x = m·2**e with m in [1/2, 1): the biased exponent is e − 1 + bias, where x is normal."""
    for tensor in pair[0].values():
        info = torch.finfo(tensor.dtype)
        highest = 2 * (math.frexp(info.max)[1] - 1) + 1  # all ones: NaN and Inf
        expected = []
        for value in tensor.reshape(-1).double().tolist():
            if not math.isfinite(value):
                expected.append(highest)
            elif abs(value) < info.smallest_normal:
                expected.append(0)
            else:
                expected.append(math.frexp(value)[1] - 1 + highest // 2)
        found = exponents(tensor)
        assert found.dtype == np.uint16
        assert found.tolist() == expected


@given(value=st.floats(1e-30, 1e30), dtype=st.sampled_from((torch.bfloat16, torch.float32, torch.float64)))
def test_coordinates_of_one_exponent_have_one_ulp(value: float, dtype: torch.dtype) -> None:
    tensor = torch.tensor([value], dtype=dtype)
    ulp = 2.0 ** (int(exponents(tensor)[0]) - 127 * (dtype != torch.float64) - 1023 * (dtype == torch.float64))
    ulp *= torch.finfo(dtype).eps
    above = torch.nextafter(tensor, torch.full_like(tensor, math.inf))
    assert float(above.double() - tensor.double()) == ulp


def test_how_near_a_weight_is_to_another_value_is_in_half_octaves_of_half_a_ulp() -> None:
    ulp = 2.0**-7  # of bfloat16 between 1 and 2
    offsets = torch.tensor([0.0, ulp / 4, 0.49 * ulp, ulp / 2, -ulp / 8], dtype=torch.float64)
    # What is left to the boundary, of half a ULP: all, a half, 0.02, nothing, 3/4.
    assert boundary_bins(1.5 + offsets, torch.bfloat16).tolist() == [0, 2, 11, 20, 0]
    assert boundary_bins(-(1.5 + offsets), torch.bfloat16).tolist() == [0, 2, 11, 20, 0]
    special = torch.tensor([0.0, math.inf, math.nan, 1e-45, 3e38])
    assert boundary_bins(special, torch.bfloat16).shape == (5,)
    assert boundary_bins(special, torch.bfloat16)[:3].tolist() == [0, 0, 0]


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_what_a_format_holds_is_as_far_from_other_values_as_can_be(values: list[float]) -> None:
    held = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16)
    assert not boundary_bins(held.float(), torch.bfloat16).any()
