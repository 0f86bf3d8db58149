"""Counts against numpy in float64, one coordinate at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from subnetray.subnetwork import MismatchError, compare, count_changed
from subnetray.subnetwork import visible as module
from subnetray.subnetwork.update.distance import exceeds_relative, exceeds_ulps
from subnetray.subnetwork.visible import changed, exceeds
from tests.subnetwork.strategies import pairs, raw

TOLERANCES = (0.0, 1e-8, 1e-5, 1e-3, 1.0, 1e30)
ULPS = (1, 2, 4, 1 << 40)
SHARES = (0.0, 1e-3, 0.5)


def _differs(a: float, b: float, bits_a: int, bits_b: int) -> bool:
    return bits_a != bits_b and not (a == 0.0 and b == 0.0)


def _reference(init: dict[str, Tensor], final: dict[str, Tensor]) -> tuple[int, dict[float, int], int]:
    visible, nonfinite, beyond = 0, 0, dict.fromkeys(TOLERANCES, 0)
    for name, tensor in init.items():
        other = final[name]
        values = zip(
            tensor.reshape(-1).double().tolist(),
            other.reshape(-1).double().tolist(),
            raw(tensor),
            raw(other),
            strict=True,
        )
        for a, b, bits_a, bits_b in values:
            moved = _differs(a, b, bits_a, bits_b)
            visible += moved
            nonfinite += not (math.isfinite(a) and math.isfinite(b))
            # Δ is rounded once to fp32 (fp64 for fp64 weights), as documented.
            wide = np.float64 if tensor.dtype == torch.float64 else np.float32
            with np.errstate(over="ignore", invalid="ignore"):
                distance = float(np.abs(wide(b) - wide(a)))
            for tau in TOLERANCES:
                beyond[tau] += moved and not distance <= tau
    return visible, beyond, nonfinite


@given(pair=pairs())
def test_counts_agree_with_one_coordinate_at_a_time(pair: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    init, final = pair
    visible, beyond, nonfinite = _reference(init, final)
    comparison = compare(init, final, TOLERANCES, ULPS, SHARES)
    assert comparison.changed_bitwise == count_changed(init, final) == visible
    assert comparison.changed_abs == beyond
    assert comparison.nonfinite == nonfinite
    assert comparison.n == sum(tensor.numel() for tensor in init.values())
    assert comparison.changed_ulps == {
        k: sum(int(exceeds_ulps(tensor, final[name], k).sum()) for name, tensor in init.items()) for k in ULPS
    }
    assert comparison.changed_relative == {
        eta: sum(int(exceeds_relative(tensor, final[name], eta).sum()) for name, tensor in init.items())
        for eta in SHARES
    }
    assert sum(int(changed(tensor, final[name]).sum()) for name, tensor in init.items()) == visible
    for tau in TOLERANCES:
        assert sum(int(exceeds(tensor, final[name], tau).sum()) for name, tensor in init.items()) == beyond[tau]


def test_chunks_change_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    init = {"a": torch.randn(1000, generator=generator).bfloat16()}
    final = {"a": (init["a"].float() + 1e-3 * torch.randn(1000, generator=generator)).bfloat16()}
    whole = compare(init, final, (1e-5, 1e-3))
    monkeypatch.setattr(module, "_CHUNK", 7)
    assert compare(init, final, (1e-5, 1e-3)) == whole
    assert count_changed(init, final) == whole.changed_bitwise


def test_zero_is_zero_whatever_its_sign_but_not_a_denormal() -> None:
    zeros = torch.tensor([0.0, -0.0, 0.0]).bfloat16()
    assert changed(zeros, torch.tensor([-0.0, 0.0, 1e-40]).bfloat16()).tolist() == [False, False, True]


def test_a_comparison_adds_up_by_module_and_layer() -> None:
    init = {
        "model.embed_tokens.weight": torch.zeros(4, 2),
        "model.layers.0.self_attn.q_proj.weight": torch.zeros(2, 2),
        "model.layers.1.self_attn.q_proj.weight": torch.zeros(2, 2),
        "model.layers.1.input_layernorm.weight": torch.zeros(2),
    }
    final = {name: tensor.clone() for name, tensor in init.items()}
    final["model.layers.1.self_attn.q_proj.weight"][0] = 1.0
    comparison = compare(init, final, (0.0,))
    assert {kind: (part.n, part.changed_bitwise) for kind, part in comparison.by_module().items()} == {
        "embedding": (8, 0),
        "q": (8, 2),
        "norm": (2, 0),
    }
    assert {layer: part.changed_bitwise for layer, part in comparison.by_layer().items()} == {None: 0, 0: 0, 1: 2}
    # Weighted by numel: 2 of 18, where the mean over tensors would be 0.125.
    assert comparison.density_bitwise == 2 / 18
    assert comparison.sparsity_bitwise == 16 / 18


def test_no_coordinates_give_no_density() -> None:
    comparison = compare({"a": torch.zeros(0)}, {"a": torch.zeros(0)}, (0.0,))
    assert math.isnan(comparison.density_bitwise)


@pytest.mark.parametrize(
    ("final", "text"),
    [
        ({"a": torch.zeros(3)}, r"'b'.* only in the first \(init\)"),
        ({"a": torch.zeros(3), "b": torch.zeros(2), "c": torch.zeros(1)}, "'c'"),
        ({"a": torch.zeros(3), "b": torch.zeros(1, 2)}, r"'b' is torch.float32 \(2,\) in the init"),
        ({"a": torch.zeros(3), "b": torch.zeros(2).bfloat16()}, "torch.bfloat16"),
    ],
)
def test_what_cannot_be_compared_is_named(final: dict[str, Tensor], text: str) -> None:
    init = {"a": torch.zeros(3), "b": torch.zeros(2)}
    for compared in (lambda: compare(init, final, (0.0,)), lambda: count_changed(init, final)):
        with pytest.raises(MismatchError, match=text):
            compared()
