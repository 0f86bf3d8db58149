"""The file of a state: what was kept comes back bit for bit, and damage is found."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from subnetray.subnetwork import CorruptFileError
from subnetray.subnetwork.files.state import State, from_lists, from_weights, to_lists, to_weights
from tests.subnetwork.strategies import pairs, raw


def _state() -> State:
    inner = State({"mask": torch.tensor([[True, False], [False, True]]), "none": torch.empty(0, 3)}, {"c": [1, None]})
    state = State(
        {"step": torch.tensor(7.0), "ids": torch.arange(6).reshape(2, 3).T}, {"nan": math.nan, "third": 1 / 3}
    )
    state.put("inner", inner)
    return state


def test_tensors_come_back_in_their_shapes_and_values_to_the_last_digit(tmp_path: Path) -> None:
    _state().save(tmp_path / "state", {"of": {"run": "a"}})
    state, header = State.load(tmp_path / "state")
    assert header["of"] == {"run": "a"}
    assert state.values["third"] == 1 / 3
    assert math.isnan(state.values["nan"])
    wanted = _state().tensors
    assert {name: (each.dtype, each.shape) for name, each in state.tensors.items()} == {
        name: (each.dtype, each.shape) for name, each in wanted.items()
    }
    assert all(torch.equal(state.tensors[name], each) for name, each in wanted.items())
    assert state.part("inner").values == {"c": [1, None]}
    assert state.part("inner").tensors.keys() == {"mask", "none"}
    assert state.part("nothing") == State()


def test_every_byte_of_the_file_counts(tmp_path: Path) -> None:
    """... but for those that fill the header up."""
    path = tmp_path / "state"
    _state().save(path, {})
    data = path.read_bytes()
    padded = 8 + int.from_bytes(data[:8], "little")
    for place in (*range(0, 16), *range(padded, len(data), 3), len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(CorruptFileError):
            State.load(path)
    path.write_bytes(data[:-1])
    with pytest.raises(CorruptFileError):
        State.load(path)


@given(st.lists(st.lists(st.floats(allow_nan=False), max_size=3), max_size=4))
def test_lists_come_back(lists: list[list[float]]) -> None:
    assert to_lists(from_lists(lists, torch.float64)) == lists
    whole = [[len(each)] * len(each) for each in lists]
    assert to_lists(from_lists(whole, torch.int64)) == whole


@given(pairs((torch.bfloat16, torch.float32)))
def test_weights_come_back_from_what_differs(pair: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    init, final = pair
    state = from_weights(final.items(), init)
    back = dict(to_weights(state, init))
    assert {name: (each.shape, raw(each)) for name, each in back.items()} == {
        name: (each.shape, raw(each)) for name, each in final.items()
    }
    # Never more than whole.
    assert sum(each.nbytes for each in state.tensors.values()) <= sum(each.nbytes for each in final.values())


def test_an_fp32_master_is_kept_by_what_differs_from_a_bf16_init() -> None:
    init = {"w": torch.randn(64, 16).bfloat16()}
    held = init["w"].float()
    held[3, 5] += 1e-6
    state = from_weights([("w", held)], init)
    assert sum(each.nbytes for each in state.tensors.values()) == 64 * 16 // 8 + 4
    ((_, back),) = to_weights(state, init, torch.float32)
    assert torch.equal(back, held)
    assert back.dtype == torch.float32
