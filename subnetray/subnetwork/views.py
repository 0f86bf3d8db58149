"""One update in several views: what other export formats would show, how concentrated it is, what could have changed.

All are of the weights as they are held (a master copy in fp32, say), before any export: they separate what training
did from what a format shows of it. Memory stays at a few tensors, whatever the size of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subnetray.subnetwork.distance import reachable
from subnetray.subnetwork.visible import count_changed, require_same_layout
from subnetray.subnetwork.weights import Weights

EXPORTS = (torch.bfloat16, torch.float16, torch.float32)
SHARES = (0.5, 0.9, 0.99)

_CHUNK = 1 << 20
# |Δ| in fp32 by its sign, exponent and the first seven bits of its mantissa: neighbours within 1/128 of each other.
_BINS, _BIN_SHIFT = 1 << 15, 16


@dataclass(frozen=True)
class Views:
    """Shares of all coordinates; NaN without coordinates.

    ``density``: by export dtype, the share whose exported values differ; of fp32 weights in fp32, all with Δ ≠ 0.
    ``energy``: size of the smallest set that holds a share of ΣΔ². ``participation``: (ΣΔ²)² / ΣΔ⁴ / n, 1 where all
    |Δ| are equal, NaN where nothing moved. ``reachable``: the share that could be exported as another value if each
    moved by a displacement (see :func:`subnetray.subnetwork.distance.reachable`); None if none was given.
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
    exports: Sequence[torch.dtype] = EXPORTS,
    shares: Sequence[float] = SHARES,
) -> Views:
    """All views of the update from ``init`` to ``final``, finite weights in the format that training held them in.

    ``displacement`` and ``export`` are for ``reachable``. Raises ``MismatchError`` when layouts differ, ``ValueError``
    for shares outside of (0, 1].
    """
    require_same_layout(init, final)
    n = sum(tensor.numel() for tensor in init.values())
    changed = dict.fromkeys(exports, 0)
    within_reach = 0
    for name, tensor in init.items():
        old, new = tensor.detach().cpu(), final[name].detach().cpu()
        for dtype in exports:
            changed[dtype] += count_changed({name: old.to(dtype)}, {name: new.to(dtype)})
        if displacement is not None:
            within_reach += int(reachable(old, displacement, export).sum())
    energy = Energy(init, final)
    return Views(
        density={dtype: _ratio(count, n) for dtype, count in changed.items()},
        energy={share: _ratio(size, n) for share, size in energy.sizes(shares).items()},
        participation=energy.participation,
        reachable=None if displacement is None else _ratio(within_reach, n),
    )


class Energy:
    """How ΣΔ² is spread over the coordinates: what :func:`subnetray.subnetwork.distance.energy_masks` would hold.

    It counts instead of sorting, in bins of |Δ|, and sorts the one bin that a share ends in.
    """

    def __init__(self, init: Weights, final: Weights) -> None:
        """Raises ``ValueError`` for an update that is not finite."""
        self._weights = init, final
        self._counts, self._energies = np.zeros(_BINS, np.int64), np.zeros(_BINS)
        fourth = 0.0
        for magnitudes, bins in self._chunks():
            squares = np.square(magnitudes)
            self._counts += np.bincount(bins, minlength=_BINS)
            self._energies += np.bincount(bins, squares, minlength=_BINS)
            fourth += float(np.square(squares).sum())
        self.total = float(self._energies.sum())
        if not math.isfinite(self.total):
            raise ValueError("the update is not finite: it has no energy")
        n = sum(tensor.numel() for tensor in init.values())
        self.participation = self.total**2 / fourth / n if fourth else math.nan

    def sizes(self, shares: Sequence[float]) -> dict[float, int]:
        """Coordinates in the smallest set that holds each of ``shares`` (in (0, 1]) of the energy."""
        for share in shares:
            if not 0 < share <= 1:
                raise ValueError(f"shares of energy must be in (0, 1], not {share}")
        if not self.total:
            return dict.fromkeys(shares, 0)
        # Largest first: the bin in which a share is reached, and what lies before it.
        sums, counts = np.cumsum(self._energies[::-1]), np.cumsum(self._counts[::-1])
        places = {share: min(int(np.searchsorted(sums, share * self.total)), _BINS - 1) for share in shares}
        inside: dict[int, list[npt.NDArray[np.float64]]] = {place: [] for place in places.values()}
        for magnitudes, bins in self._chunks():
            for place, parts in inside.items():
                parts.append(magnitudes[bins == _BINS - 1 - place])
        result = {}
        for share, place in places.items():
            largest_first = -np.sort(-np.concatenate(inside[place]))
            before, so_far = (int(counts[place - 1]), float(sums[place - 1])) if place else (0, 0.0)
            more = int(np.searchsorted(so_far + np.cumsum(np.square(largest_first)), share * self.total)) + 1
            result[share] = before + min(more, largest_first.size)
        return result

    def _chunks(self) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]:
        """|Δ| where it is not 0, and the bin of each."""
        init, final = self._weights
        for name, tensor in init.items():
            old, new = tensor.detach().cpu().reshape(-1), final[name].detach().cpu().reshape(-1)
            for start in range(0, old.numel(), _CHUNK):
                part = slice(start, start + _CHUNK)
                delta = (new[part].double() - old[part].double()).abs_().numpy()
                magnitudes = delta[delta != 0]
                with np.errstate(over="ignore"):
                    bins = magnitudes.astype(np.float32).view(np.int32) >> _BIN_SHIFT
                yield magnitudes, bins.astype(np.int64)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
