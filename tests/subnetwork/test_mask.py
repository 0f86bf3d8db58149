"""Masks: bits in, the same bits out, and the algebra of sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import CorruptFileError, Mask, MismatchError
from subnetray.subnetwork.visible import changed
from tests.subnetwork.strategies import SHAPES, pairs


@st.composite
def bools(draw: st.DrawFn, count: int = 1) -> list[dict[str, Tensor]]:
    """``count`` sets of boolean tensors of one layout."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    return [
        {
            str(index): torch.tensor(
                draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))),
                dtype=torch.bool,
            ).reshape(shape)
            for index, shape in enumerate(shapes)
        }
        for _ in range(count)
    ]


@given(drawn=bools())
def test_packing_is_invertible_and_counts(drawn: list[dict[str, Tensor]]) -> None:
    (values,) = drawn
    mask = Mask.from_bools(values)
    back = mask.bools()
    assert all(torch.equal(back[name], value) for name, value in values.items())
    assert mask.k == sum(int(value.sum()) for value in values.values())
    assert mask.n == sum(value.numel() for value in values.values())


@given(drawn=bools(count=2))
def test_and_or_not_are_those_of_the_bools(drawn: list[dict[str, Tensor]]) -> None:
    one, two = drawn
    a, b = Mask.from_bools(one), Mask.from_bools(two)
    assert a & b == Mask.from_bools({name: one[name] & two[name] for name in one})
    assert a | b == Mask.from_bools({name: one[name] | two[name] for name in one})
    assert ~a == Mask.from_bools({name: ~value for name, value in one.items()})
    assert ~~a == a
    assert (~a).k == a.n - a.k
    assert ~(a & b) == ~a | ~b


@given(pair=pairs())
def test_the_mask_of_an_update_marks_what_is_visible(pair: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    init, final = pair
    mask = Mask.between(init, final)
    assert all(torch.equal(mask.bools()[name], changed(tensor, final[name])) for name, tensor in init.items())


def test_a_saved_mask_comes_back_and_a_damaged_one_does_not(tmp_path: Path) -> None:
    mask = Mask.from_bools({"a": torch.rand(10, 13) < 0.3, "b": torch.zeros(0, dtype=torch.bool)})
    path = tmp_path / "mask.safetensors"
    mask.save(path, {"run_id": "x"})
    assert Mask.load(path) == mask
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:40], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match="mask"):
            Mask.load(path)
    assert [item.name for item in tmp_path.iterdir()] == ["mask.safetensors"]


def test_masks_of_other_shapes_do_not_combine() -> None:
    one = Mask.from_bools({"a": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(MismatchError, match="'a' has shape"):
        one & Mask.from_bools({"a": torch.ones(4, dtype=torch.bool)})
    with pytest.raises(MismatchError, match=r"'a' is only in the first .*; 1 more are"):
        one | Mask.from_bools({"b": torch.ones(3, dtype=torch.bool)})
