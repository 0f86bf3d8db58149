"""Training restricted to a subnetwork: an optimizer's step moves the coordinates of a mask, and no others.

The optimizer is given the mask's coordinates alone: of every parameter a compact one, a vector of the values inside.
Before its step it gets their gradients, after it they are put back. So it is the update that is masked, not the
gradient alone (weight decay and momentum do not reach what is frozen, which is never written to), and the optimizer's
state is of the subnetwork only. This holds for every optimizer whose update of a coordinate depends on no other
coordinate (AdamW, SGD), under accumulation (there is one step for all passes) and with data-parallel workers (gradients
are averaged before the step, and the same is taken of them everywhere). Sharded parameters (FSDP) are refused.

Memory: n/8 bytes for the mask, and for each of its k coordinates the value, for the time of a step the gradient, and
what the optimizer keeps. With AdamW and an fp32 master that is n/8 + 12 k bytes between steps, where training all of
the weights keeps 8 n.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from subnetray.subnetwork.mask import Mask, require_same_shapes, unpack
from subnetray.subnetwork.visible import MismatchError

CLIP = ("before", "after")

# By the value of a byte of a mask: which of its eight coordinates are in.
_INSIDE = (torch.arange(256)[:, None] >> torch.arange(8)) & 1 == 1


@dataclass(frozen=True)
class _Part:
    """One parameter, its bits of the mask on its own device, and its coordinates inside, (k,), for the optimizer."""

    parameter: torch.nn.Parameter
    bits: Tensor
    compact: torch.nn.Parameter

    @classmethod
    def of(cls, parameter: torch.nn.Parameter, bits: Tensor) -> _Part:
        bits, values = bits.to(parameter.device), parameter.detach().flatten()
        return cls(parameter, bits, torch.nn.Parameter(values[_positions(bits, values.numel())]))

    def gather(self) -> None:
        """Hand the parameter's gradient over; the parameter has none afterwards."""
        gradient, self.parameter.grad = self.parameter.grad, None
        self.compact.grad = None if gradient is None else gradient.flatten()[_positions(self.bits, gradient.numel())]

    def scatter(self) -> None:
        """Write the values back."""
        flat = self.parameter.view(-1)
        flat.index_copy_(0, _positions(self.bits, flat.numel()), self.compact)


def _positions(bits: Tensor, n: int) -> Tensor:
    """Which of ``n`` coordinates are inside of the mask, in order, int64."""
    if bits.device.type == "cpu":
        # 0.4 ns a coordinate; PyTorch's nonzero takes 1 to 5 on a CPU, and selecting by booleans no less.
        return torch.from_numpy(np.flatnonzero(unpack(bits.numpy(), n)))
    return _INSIDE.to(bits.device).index_select(0, bits.int()).flatten()[:n].nonzero()[:, 0]


class Restriction:
    """Confines the steps of an optimizer of ``parameters`` to ``mask``; what is frozen keeps its bits.

    ``parameters``: all that the mask has, by name, tied ones once. Raises :class:`MismatchError` if the mask's tensors
    are others.

    Gradients are scaled down to a global norm of ``max_norm``: measured ``before`` they are masked (all coordinates
    count, as if there were no restriction), or ``after``. Whoever attaches it leaves clipping to it.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        mask: Mask,
        clip: str = "before",
        max_norm: float = math.inf,
    ) -> None:
        require_same_shapes({name: tuple(each.shape) for name, each in parameters.items()}, mask.shapes)
        if clip not in CLIP:
            raise ValueError(f"clip must be one of {', '.join(CLIP)}, not {clip!r}")
        self.mask = mask
        self._clip, self._max_norm = clip, max_norm
        self._parts = [_Part.of(each, torch.from_numpy(mask.bits[name])) for name, each in parameters.items()]
        # Of every step: the norm of the gradient before any clipping, of all coordinates and of the mask's.
        self.norms: list[tuple[float, float]] = []

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Confine every step of ``optimizer``, which has taken none yet.

        Raises :class:`MismatchError` if it moves other parameters, as that of a model that FSDP has sharded does.
        """
        compact = {id(part.parameter): part.compact for part in self._parts}
        if not all(id(each) in compact for group in optimizer.param_groups for each in group["params"]):
            raise MismatchError("the optimizer moves parameters that the mask has not, as it does of a sharded model")
        for group in optimizer.param_groups:
            group["params"] = [compact[id(each)] for each in group["params"]]
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    @torch.no_grad()
    def _before(self, *_: Any) -> None:
        full = get_total_norm([part.parameter.grad for part in self._parts if part.parameter.grad is not None])
        for part in self._parts:
            part.gather()
        compact = [part.compact for part in self._parts]
        masked = get_total_norm([each.grad for each in compact if each.grad is not None])
        clip_grads_with_norm_(compact, self._max_norm, full if self._clip == "before" else masked)
        self.norms.append((float(full), float(masked)))

    @torch.no_grad()
    def _after(self, *_: Any) -> None:
        for part in self._parts:
            part.scatter()
