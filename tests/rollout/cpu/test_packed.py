"""What loaders wrote is written again only where they did nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from subnetray.rollout.cpu.packed import _Watched

Weights = dict[str, Tensor]


def _weights() -> Weights:
    return {"one": torch.arange(6.0).reshape(2, 3), "two": torch.arange(3.0)}


def test_copies_and_fills_are_remembered_in_their_order() -> None:
    model, weights = torch.full((4, 3), 9.0), _weights()
    with _Watched() as watched:
        model.narrow(0, 0, 2).copy_(weights["one"])
        model[2].copy_(weights["two"].view(-1))
        model[3:].fill_(0)
    writes = watched.writes(weights)
    assert writes.names == {"one", "two"}
    assert [what for _, what in writes.places] == ["one", "two", 0]
    assert [place.data_ptr() for place, _ in writes.places] == [
        row.data_ptr() for row in (model[0], model[2], model[3])
    ]


def _scaled(model: Tensor, weights: Weights) -> None:
    model[:2].copy_(2 * weights["one"])
    model[2].copy_(weights["two"])


def _in_part(model: Tensor, weights: Weights) -> None:
    model[0].copy_(weights["one"][0])
    model[2].copy_(weights["two"])


def _missing(model: Tensor, weights: Weights) -> None:
    model[:2].copy_(weights["one"])


def _added_to(model: Tensor, weights: Weights) -> None:
    model[:2].copy_(weights["one"])
    model[2].copy_(weights["two"])
    model.add_(1)


@pytest.mark.parametrize("load", [_scaled, _in_part, _missing, _added_to])
def test_what_is_more_than_copies_of_whole_tensors_is_left_to_the_loaders(
    load: Callable[[Tensor, Weights], None],
) -> None:
    weights = _weights()
    with _Watched() as watched:
        load(torch.zeros(4, 3), weights)
    assert not watched.writes(weights).names
