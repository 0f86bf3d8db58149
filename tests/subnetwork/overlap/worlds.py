"""Made-up runs whose probabilities of a visible change are known: planted rows and columns, laws of updates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from subnetray.subnetwork import Mask, Strata, ulp_strata

# P(|x| > z) of laws of variance 1; Student's t has 3 degrees of freedom.
LAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda z: torch.erfc(z / math.sqrt(2)),
    "exponential": lambda z: torch.exp(-z * math.sqrt(2)),
    "student": lambda z: 1 - 2 / math.pi * (torch.arctan(z) + z / (1 + z * z)),
    "uniform": lambda z: (1 - z / math.sqrt(3)).clamp(min=0),
}


@dataclass(frozen=True)
class World:
    """Probability by coordinate, of every run alike and independently, and the init's strata."""

    p: Tensor
    strata: Strata
    generator: torch.Generator

    def mask(self) -> Mask:
        """The mask of another run."""
        return Mask.from_bools({"w": torch.rand(self.p.shape, generator=self.generator) < self.p})

    @property
    def shared(self) -> float:
        """Expected k12 of two runs."""
        return float((self.p**2).sum())

    @property
    def changed(self) -> float:
        """Expected coordinates of one run."""
        return float(self.p.sum())


def world(
    shape: tuple[int, int],
    scales: float,
    density: float,
    law: str = "normal",
    stored: torch.dtype = torch.bfloat16,
    seed: int = 0,
) -> World:
    """Runs that share log-normal scales of rows and of columns, of the given standard deviation.

    Updates are of one ``law`` times both scales and a common one, which is chosen for the density; they are rounded to
    bf16 from an init that is ``stored`` as it says.
    """
    generator = torch.Generator().manual_seed(seed)
    init = (0.05 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(stored).double()
    rows, columns = (torch.randn(size, generator=generator, dtype=torch.float64).mul(scales).exp() for size in shape)
    # The way down and up to where rounding gives another value.
    rounded = init.bfloat16().double()
    half = torch.ldexp(torch.ones_like(init), torch.frexp(rounded)[1] - 9)
    ways = half + (init - rounded), half - (init - rounded)

    def chance(log_scale: float) -> Tensor:
        scale = math.exp(log_scale) * rows[:, None] * columns
        return sum((LAWS[law](way / scale) / 2 for way in ways), torch.zeros(()))

    low, high = -40.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if float(chance(middle).mean()) < density else (low, middle)
    strata = ulp_strata({"w": init.to(stored)}, exported=torch.bfloat16)
    return World(chance(low), strata, generator)
