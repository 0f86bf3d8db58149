"""Training restricted to a subnetwork: an optimizer's step moves the coordinates of a mask, and no others.

It is the update that is masked, not the gradient alone: weight decay moves a coordinate whose gradient is 0. Gradients
are masked before the step, so that the optimizer's moments of frozen coordinates come from no gradient; after it,
frozen coordinates are put back to the bits they had. This holds for every optimizer whose update of a coordinate
depends on no other coordinate (AdamW, SGD), under accumulation (there is one step for all passes) and with
data-parallel workers (gradients are averaged before the step, and masked alike everywhere). Sharded parameters (FSDP)
are refused.

Memory beside the run's own: n/8 bytes for the mask. The values to put back are those of the init in the dtype of
export, which a run holds anyway, wherever that dtype holds them exactly: in ``bf16`` and ``fp32`` always, with an fp32
master if the checkpoint is stored in bf16. Of every other tensor a copy is kept, in the dtype that it is trained in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from subnetray.subnetwork.mask import Mask, require_same_shapes
from subnetray.subnetwork.visible import MismatchError
from subnetray.subnetwork.weights import Weights, held_values

CLIP = ("before", "after")

# By the value of a byte of a mask: which of its eight coordinates are not in.
_OUTSIDE = (torch.arange(256)[:, None] >> torch.arange(8)) & 1 == 0


@dataclass(frozen=True)
class _Part:
    """One parameter, its bits of the mask on its own device, and a tensor that holds its frozen values."""

    parameter: torch.nn.Parameter
    bits: Tensor
    source: Tensor

    def frozen(self) -> Tensor:
        """Boolean tensor of the parameter's shape: the coordinates outside of the mask."""
        # By table: 0.3 ns a coordinate on a CPU, where shifting each byte eight times takes 2.3.
        flat = _OUTSIDE.to(self.bits.device).index_select(0, self.bits.int()).reshape(-1)
        return flat[: self.parameter.numel()].reshape(self.parameter.shape)


class Restriction:
    """Confines the steps of an optimizer of ``parameters`` to ``mask``; what is frozen stays as it is now.

    ``parameters``: all that the mask has, by name, tied ones once. ``init``: the same weights, in a dtype that the
    caller keeps anyway. Raises :class:`MismatchError` if the mask's tensors are others.

    Gradients are scaled down to a global norm of ``max_norm``: measured ``before`` they are masked (all coordinates
    count, as if there were no restriction), or ``after``. Whoever attaches it leaves clipping to it.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        mask: Mask,
        init: Weights,
        clip: str = "before",
        max_norm: float = math.inf,
    ) -> None:
        require_same_shapes({name: tuple(each.shape) for name, each in parameters.items()}, mask.shapes)
        if clip not in CLIP:
            raise ValueError(f"clip must be one of {', '.join(CLIP)}, not {clip!r}")
        self.mask = mask
        self._clip, self._max_norm = clip, max_norm
        self._parts = [
            _Part(each, torch.from_numpy(mask.bits[name]).to(each.device), held_values(each, init[name]))
            for name, each in parameters.items()
        ]
        # Of every step: the norm of the gradient before any clipping, of all coordinates and of the mask's.
        self.norms: list[tuple[float, float]] = []

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Confine every step of ``optimizer`` from now on; raises :class:`MismatchError` if it moves other parameters.

        Those of a model that FSDP has sharded are others.
        """
        own = {id(part.parameter) for part in self._parts}
        if not all(id(each) in own for group in optimizer.param_groups for each in group["params"]):
            raise MismatchError("the optimizer moves parameters that the mask has not, as it does of a sharded model")
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    @torch.no_grad()
    def _before(self, *_: Any) -> None:
        parts = [part for part in self._parts if part.parameter.grad is not None]
        gradients = [part.parameter.grad for part in parts if part.parameter.grad is not None]
        full = get_total_norm(gradients)
        for part, gradient in zip(parts, gradients, strict=True):
            # Filled, not multiplied: 0 times infinity is no 0, and −1 times 0 has a sign.
            gradient.masked_fill_(part.frozen(), 0.0)
        masked = get_total_norm(gradients)
        norm = full if self._clip == "before" else masked
        clip_grads_with_norm_([part.parameter for part in parts], self._max_norm, norm)
        self.norms.append((float(full), float(masked)))

    @torch.no_grad()
    def _after(self, *_: Any) -> None:
        for part in self._parts:
            part.parameter.copy_(torch.where(part.frozen(), part.source, part.parameter))
