"""Training restricted to a subnetwork: an optimizer's step moves the coordinates of a mask, and no others.

The optimizer is given the mask's coordinates alone: of every parameter a compact one, a vector of the values inside.
Before its step it gets their gradients, after it they are put back. So it is the update that is masked, not the
gradient alone (weight decay and momentum do not reach what is frozen, which is never written to), and the optimizer's
state is of the subnetwork only. This holds for every optimizer whose update of a coordinate depends on no other
coordinate (AdamW, SGD), under accumulation (there is one step for all passes) and with data-parallel workers (gradients
are averaged before the step, and the same is taken of them everywhere). Where each worker holds a part of every
parameter (FSDP), compact ones are of the coordinates inside of that part.

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
import torch.distributed
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from subnetray.subnetwork.files.state import State
from subnetray.subnetwork.mask import Bits, Mask, pack, require_same_shapes, unpack
from subnetray.subnetwork.visible import MismatchError
from subnetray.subnetwork.weights import is_sharded, whole

CLIP = ("before", "after")

# By the value of a byte of a mask: which of its eight coordinates are in.
_INSIDE = (torch.arange(256)[:, None] >> torch.arange(8)) & 1 == 1


@dataclass(frozen=True)
class _Part:
    """What this worker holds of one parameter, its bits of the mask on its device, and its coordinates inside, (k,),
    for the optimizer.
    """

    parameter: torch.nn.Parameter
    bits: Tensor
    compact: torch.nn.Parameter

    @classmethod
    def of(cls, parameter: torch.nn.Parameter, bits: Bits) -> _Part:
        held = torch.from_numpy(_held_bits(parameter, bits)).to(parameter.device)
        values = _held(parameter.detach()).flatten()
        return cls(parameter, held, torch.nn.Parameter(values[_positions(held, values.numel())]))

    def gather(self) -> None:
        """Hand the parameter's gradient over; the parameter has none afterwards."""
        gradient, self.parameter.grad = self.parameter.grad, None
        if gradient is not None:
            gradient = _held(gradient).flatten()
            gradient = gradient[_positions(self.bits, gradient.numel())]
        self.compact.grad = gradient

    def scatter(self) -> None:
        """Write the values back."""
        flat = _held(self.parameter).view(-1)
        flat.index_copy_(0, _positions(self.bits, flat.numel()), self.compact)


def _held(tensor: Tensor) -> Tensor:
    """The part of a tensor that this worker holds, as a view: all of it unless workers share it out."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def _held_bits(parameter: torch.nn.Parameter, bits: Bits) -> Bits:
    """Of a mask's ``bits`` of a whole parameter those of the part that this worker holds."""
    if not is_sharded(parameter):
        return bits
    from torch.distributed.tensor import distribute_tensor  # takes seconds to import, and is where there are shards

    bools = torch.from_numpy(unpack(bits, parameter.numel())).view(parameter.shape).to(parameter.device)
    # All workers have the whole mask: nothing is sent.
    shared = distribute_tensor(bools, parameter.device_mesh, parameter.placements, src_data_rank=None)
    return pack(shared.to_local().flatten().cpu().numpy())


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
        self._parts = [_Part.of(each, mask.bits[name]) for name, each in parameters.items()]
        sharded = [each for each in parameters.values() if is_sharded(each)]
        self._group = sharded[0].device_mesh.get_group() if sharded else None
        # Of every step: the norm of the gradient before any clipping, of all coordinates and of the mask's.
        self.norms: list[tuple[float, float]] = []

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Confine every step of ``optimizer``, which has taken none yet.

        Raises :class:`MismatchError` if it moves other parameters.
        """
        compact = {id(part.parameter): part.compact for part in self._parts}
        if not all(id(each) in compact for group in optimizer.param_groups for each in group["params"]):
            raise MismatchError("the optimizer moves parameters that the mask has not")
        for group in optimizer.param_groups:
            group["params"] = [compact[id(each)] for each in group["params"]]
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def kept(self) -> State:
        """The norms of all steps: what the optimizer moves is the parameters' own, inside of the mask."""
        return State({"norms": torch.tensor(self.norms, dtype=torch.float64).reshape(-1, 2)})

    @torch.no_grad()
    def resume(self, state: State) -> None:
        """Go on from there, with the values that the parameters have now."""
        self.norms = [(full, masked) for full, masked in state.tensors["norms"].tolist()]
        for part in self._parts:
            values = _held(part.parameter).flatten()
            part.compact.copy_(values[_positions(part.bits, values.numel())])

    @torch.no_grad()
    def _before(self, *_: Any) -> None:
        full = whole(get_total_norm([part.parameter.grad for part in self._parts if part.parameter.grad is not None]))
        for part in self._parts:
            part.gather()
        compact = [part.compact for part in self._parts]
        masked = get_total_norm([each.grad for each in compact if each.grad is not None])
        if self._group is not None:
            squares = masked.square()
            torch.distributed.all_reduce(squares, group=self._group)
            masked = squares.sqrt()
        clip_grads_with_norm_(compact, self._max_norm, full if self._clip == "before" else masked)
        self.norms.append((float(full), float(masked)))

    @torch.no_grad()
    def _after(self, *_: Any) -> None:
        for part in self._parts:
            part.scatter()
