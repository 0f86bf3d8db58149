"""One update in several views: what other export formats would show, how concentrated it is, what could have changed.

All are of the weights as they are held (a master copy in fp32, say), before any export: they separate what training
did from what a format shows of it. Memory stays at a few tensors, whatever the size of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.subnetwork.ratio import ratio
from subnetray.subnetwork.update.distance import reachable
from subnetray.subnetwork.update.energy import concentration
from subnetray.subnetwork.visible import count_changed, require_same_layout
from subnetray.subnetwork.weights import Weights

EXPORTS = (torch.bfloat16, torch.float16, torch.float32)
SHARES = (0.5, 0.9, 0.99)

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Views:
    """Shares of all coordinates; NaN without coordinates.

    ``density``: by export dtype, the share whose exported values differ; of fp32 weights in fp32, all with Δ ≠ 0.
    ``energy``: size of the smallest set that holds a share of ΣΔ². ``participation``: (ΣΔ²)² / ΣΔ⁴ / n, 1 where all
    |Δ| are equal, NaN where nothing moved. ``reachable``: the share that could be exported as another value if each
    moved by a displacement (see :func:`subnetray.subnetwork.update.distance.reachable`); None if none was given.
    """

    density: dict[torch.dtype, float]
    energy: dict[float, float]
    participation: float
    reachable: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; null for what is not known."""

        def known(value: float) -> float | None:
            return None if math.isnan(value) else value

        return {
            "density": {str(dtype).removeprefix("torch."): known(value) for dtype, value in self.density.items()},
            "energy": {f"{100 * share:g}": known(value) for share, value in self.energy.items()},
            "participation": known(self.participation),
            "reachable": self.reachable,
        }


def views(
    init: Weights,
    final: Weights,
    displacement: float | None = None,
    export: torch.dtype = torch.bfloat16,
    shares: Sequence[float] = SHARES,
) -> Views:
    """All views of the update from ``init`` to ``final``, finite weights in the format that training held them in.

    ``displacement`` and ``export`` are for ``reachable``. Raises ``MismatchError`` when layouts differ, ``ValueError``
    for shares outside of (0, 1] and for what :func:`concentration` refuses.
    """
    require_same_layout(init, final)
    n = sum(tensor.numel() for tensor in init.values())
    changed = dict.fromkeys(EXPORTS, 0)
    within_reach = 0
    for name, tensor in init.items():
        old, new = tensor.detach().cpu(), final[name].detach().cpu()
        for dtype in EXPORTS:
            changed[dtype] += count_changed({name: old.to(dtype)}, {name: new.to(dtype)})
        if displacement is not None:
            within_reach += int(reachable(old, displacement, export).sum())
    energy = concentration(partial(_magnitudes, init, final), shares)
    return Views(
        density={dtype: ratio(count, n) for dtype, count in changed.items()},
        energy={share: ratio(count, n) for share, count in energy.counts.items()},
        participation=energy.participation,
        reachable=None if displacement is None else ratio(within_reach, n),
    )


def _magnitudes(init: Weights, final: Weights) -> Iterator[npt.NDArray[np.float64]]:
    """|Δ| in chunks; small tensors come together, as each chunk has costs of its own."""
    waiting: list[npt.NDArray[np.float64]] = []
    for name, tensor in init.items():
        old, new = tensor.detach().cpu().reshape(-1), final[name].detach().cpu().reshape(-1)
        for start in range(0, old.numel(), _CHUNK):
            part = slice(start, start + _CHUNK)
            waiting.append((new[part].double() - old[part].double()).abs_().numpy())
            if sum(chunk.size for chunk in waiting) >= _CHUNK:
                yield np.concatenate(waiting)
                waiting.clear()
    if waiting:
        yield np.concatenate(waiting)
