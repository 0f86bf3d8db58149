"""bf16 products on CPUs that have no instructions for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from subnetray import bf16

linear = torch.nn.functional.linear
attention = torch.nn.functional.scaled_dot_product_attention

_OPERATIONS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "linear": (linear, [(3, 5, 64), (32, 64), (32,)]),
    "linear without bias": (linear, [(3, 5, 64), (32, 64)]),
    "matmul": (torch.matmul, [(4, 7, 33), (4, 33, 9)]),
    "operator": (lambda a, b: a @ b, [(7, 33), (33, 9)]),
    "bmm": (torch.bmm, [(4, 7, 33), (4, 33, 9)]),
    "einsum": (lambda a, b: torch.einsum("bij,bkj->bik", a, b), [(2, 7, 33), (2, 9, 33)]),
    "attention": (attention, [(2, 3, 7, 32)] * 3),
    "causal attention": (lambda q, k, v: attention(q, k, v, is_causal=True), [(2, 3, 7, 32)] * 3),
}


@pytest.mark.parametrize("name", _OPERATIONS)
@pytest.mark.parametrize("autocast", [False, True])
def test_products_and_gradients_are_those_of_float64_rounded_to_bf16(name: str, autocast: bool) -> None:
    """Up to the rounding of two operations: 2^-8 of the largest value, relative to which sums in fp32 err by 2^-20."""
    operation, shapes = _OPERATIONS[name]
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]
    inputs = [(each.float() if autocast else each.clone()).requires_grad_() for each in values]
    exact = [each.double().requires_grad_() for each in values]
    with bf16._InFloat32(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = operation(*inputs)
    wanted = operation(*exact)
    assert found.dtype == torch.bfloat16
    weight = torch.randn(wanted.shape, generator=generator).bfloat16()
    found.backward(weight)
    wanted.backward(weight.double())
    for one, other in ((found, wanted), *((a.grad, b.grad) for a, b in zip(inputs, exact, strict=True))):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one.double(), other, rtol=2**-8, atol=float(2**-8 * other.detach().abs().max()))
    assert [each.grad.dtype for each in inputs if each.grad is not None] == [each.dtype for each in inputs]


def test_fp32_and_integers_are_left_alone() -> None:
    one, two = torch.randn(5, 8), torch.randn(8, 5)
    with bf16._InFloat32():
        assert torch.equal(one @ two, torch.mm(one, two))
        assert (one @ two).dtype == torch.float32
        assert torch.equal(torch.ones(2, 2, dtype=torch.int64) @ torch.eye(2, dtype=torch.int64), torch.ones(2, 2))


def test_a_linear_layer_keeps_no_fp32_copy_for_the_backward_pass() -> None:
    layer, x = torch.nn.Linear(64, 32).bfloat16(), torch.randn(5, 64).bfloat16().requires_grad_()
    with bf16._InFloat32():
        node = layer(x).grad_fn
    assert node is not None
    assert {tensor.dtype for tensor in node.saved_tensors} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("machine", "capability", "limit", "native"),
    [
        ("x86_64", "AVX512", "", True),
        ("x86_64", "AVX512", "AVX512_CORE", True),
        ("x86_64", "AVX512", "avx2", False),
        ("x86_64", "AVX2", "", False),
        ("x86_64", "DEFAULT", "", False),
        ("aarch64", "DEFAULT", "", True),
    ],
)
def test_the_kind_of_processor_decides(
    machine: str, capability: str, limit: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    bf16.native.cache_clear()
    try:
        assert bf16.native() is native
    finally:
        bf16.native.cache_clear()
