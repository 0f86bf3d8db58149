"""bf16 matrix products at the speed of fp32, on CPUs that have no instructions for bf16.

On x86 with AVX2 alone PyTorch multiplies bf16 matrices in a reference loop: at 2 to 4 GFLOP/s a core, where fp32 runs
at 50 (torch 2.13, AMD EPYC). Here their values are multiplied in fp32 and the result is rounded to bf16, which is what
bf16 instructions do: products of two bf16 numbers are exact in fp32, and sums are kept in fp32. Only their order may
differ. Training of a real model on such a CPU spends more than nine tenths of its time in these products.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

# Instruction sets that oneDNN has no bf16 kernels for, by the names that its environment variable takes.
_WITHOUT = frozenset(("SSE41", "AVX", "AVX2", "AVX2_VNNI"))


@functools.cache
def native() -> bool:
    """Return whether PyTorch multiplies bf16 matrices on this CPU with vector instructions.

    Decided by the kind of processor, never by timing it: a run has the same bytes each time.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    limits = {os.environ.get(name, "").upper() for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")}
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512") and not limits & _WITHOUT


def products() -> contextlib.AbstractContextManager[Any]:
    """Multiply bf16 matrices of the calling thread in fp32 while this is entered, where the CPU is slow at bf16.

    Covers linear layers, products of matrices and attention, with autocast and without; other devices are left alone.
    """
    return contextlib.nullcontext() if native() else _InFloat32()


class _Linear(torch.autograd.Function):
    """``F.linear`` of bf16 values: what is kept for the backward pass takes two bytes a number, as in PyTorch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.dtypes = x.dtype, weight.dtype, None if bias is None else bias.dtype
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        added = None if bias is None else bias.bfloat16().float()
        return torch.nn.functional.linear(x.float(), weight.float(), added).bfloat16()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.dtypes
        rows = grad.float().flatten(0, -2)
        found: list[Tensor | None] = [None, None, None]
        if ctx.needs_input_grad[0]:
            found[0] = (grad.float() @ weight.float()).bfloat16().to(of_x)
        if ctx.needs_input_grad[1]:
            found[1] = (rows.t() @ x.float().flatten(0, -2)).bfloat16().to(of_weight)
        if ctx.needs_input_grad[2]:
            found[2] = rows.sum(0).bfloat16().to(of_bias)
        return tuple(found)


_LINEAR = torch.nn.functional.linear
_PRODUCTS: frozenset[Callable[..., Any]] = frozenset(
    (
        *(torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum),
        *(torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.__rmatmul__, torch.Tensor.mm, torch.Tensor.bmm),
        *(torch.Tensor.addmm, torch.Tensor.baddbmm, torch.nn.functional.scaled_dot_product_attention),
    )
)


class _InFloat32(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not _LINEAR and func not in _PRODUCTS:
            return func(*args, **kwargs)
        tensors = [each for each in _flat((args, kwargs.values())) if each.is_floating_point()]
        autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
        wanted = (torch.bfloat16, torch.float32) if autocast else (torch.bfloat16,)
        # Subclasses (a DTensor, say) have products of their own.
        if "out" in kwargs or not all(
            type(each) in (Tensor, torch.nn.Parameter) and each.device.type == "cpu" and each.dtype in wanted
            for each in tensors
        ):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            if func is _LINEAR:
                return _linear(*args, **kwargs)
            return func(*_widened(args), **{key: _widened(value) for key, value in kwargs.items()}).bfloat16()


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # its parameters' names are PyTorch's
    return _Linear.apply(input, weight, bias)  # type: ignore[no-untyped-call]


def _flat(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif not isinstance(value, (str, Mapping)) and isinstance(value, Iterable):
            yield from _flat(value)


def _widened(value: Any) -> Any:
    """Every floating-point tensor rounded to bf16, as fp32: backward, its gradient is rounded in the same way."""
    if isinstance(value, Tensor):
        return value.bfloat16().float() if value.is_floating_point() else value
    return type(value)(map(_widened, value)) if isinstance(value, (tuple, list)) else value
