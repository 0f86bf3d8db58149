"""Views of one update: against counts of exports, and masks of energy."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subnetray.subnetwork import MismatchError
from subnetray.subnetwork.update.distance import energy_masks
from subnetray.subnetwork.update.formats import views


def test_an_update_worked_out_by_hand() -> None:
    init = {"a": torch.ones(4), "b": torch.ones(2, 2)}
    final = {
        # Values at 1 are 2^-7 apart in bf16, 2^-10 in fp16, 2^-23 in fp32; half way, the even one is taken.
        "a": torch.tensor([1.0, 1 + 2**-20, 1 + 3 * 2**-11, 1 + 3 * 2**-8]),
        "b": torch.ones(2, 2),
    }
    found = views(init, final, displacement=2**-7)
    assert found.density == {torch.bfloat16: 1 / 8, torch.float16: 2 / 8, torch.float32: 3 / 8}
    assert found.energy == {0.5: 1 / 8, 0.9: 1 / 8, 0.99: 2 / 8}  # 99 % take (3 · 2^-11)² too: it is 1.5 %
    assert found.reachable == 1.0
    squares = [(3 * 2**-8) ** 2, (3 * 2**-11) ** 2, 2**-40]
    assert found.participation == pytest.approx(sum(squares) ** 2 / sum(x * x for x in squares) / 8)
    assert views(init, final, displacement=2**-10).reachable == 0.0
    assert views(init, final, displacement=2**-10, export=torch.float16).reachable == 1.0


def test_all_equal_changes_participate() -> None:
    init = {"a": torch.zeros(10)}
    found = views(init, {"a": torch.tensor([1.0, -1.0] * 5)})
    assert found.participation == 1.0
    assert found.energy == {0.5: 0.5, 0.9: 0.9, 0.99: 1.0}
    assert found.reachable is None


@given(
    st.lists(st.one_of(st.integers(-3, 3), st.integers(-(2**20), 2**20)), min_size=1, max_size=60),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=3, unique=True),
)
def test_sizes_are_those_of_the_masks_of_energy(deltas: list[int], shares: list[float]) -> None:
    # Squares of whole numbers are summed exactly, in whatever order.
    final = {"a": torch.tensor(deltas[::2], dtype=torch.float32), "b": torch.tensor(deltas[1::2], dtype=torch.float32)}
    init = {name: torch.zeros_like(tensor) for name, tensor in final.items()}
    masks = energy_masks(init, final, shares)
    assert views(init, final, shares=shares).energy == {share: mask.density for share, mask in masks.items()}


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    init = {"a": torch.randn(3000, generator=generator)}
    final = {"a": init["a"] + 1e-3 * torch.randn(3000, generator=generator)}
    shares = (0.1, 0.5, 0.9, 0.99)
    expected = {share: mask.density for share, mask in energy_masks(init, final, shares).items()}
    assert views(init, final, shares=shares).energy == expected
    monkeypatch.setattr("subnetray.subnetwork.update.formats._CHUNK", 7)
    assert views(init, final, shares=shares).energy == expected


def test_nothing_moved() -> None:
    found = views({"a": torch.ones(3)}, {"a": torch.ones(3)}, displacement=0.0)
    assert found.energy == {0.5: 0.0, 0.9: 0.0, 0.99: 0.0}
    assert math.isnan(found.participation)
    assert found.reachable == 0.0
    values = found.to_dict()
    assert values["density"] == {"bfloat16": 0.0, "float16": 0.0, "float32": 0.0}
    assert values["energy"] == {"50": 0.0, "90": 0.0, "99": 0.0}
    assert values["participation"] is None


def test_what_has_no_views_is_refused() -> None:
    ones = {"a": torch.ones(3)}
    with pytest.raises(ValueError, match="not finite"):
        views(ones, {"a": torch.tensor([1.0, math.inf, 1.0])})
    with pytest.raises(ValueError, match=r"must be in \(0, 1\], not 90"):
        views(ones, ones, shares=[90])
    with pytest.raises(MismatchError, match="tensor 'a' is only in the first"):
        views(ones, {"b": torch.ones(3)})
