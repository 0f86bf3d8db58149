"""How few coordinates carry an update: participation, Gini, and the smallest sets that hold shares of ΣΔ².

Made for updates of any size: |Δ| is read chunk by chunk, several times, and never held. The masks themselves, of
updates that fit into memory, are made by :func:`subnetray.subnetwork.update.distance.energy_masks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
# Gives all chunks of |Δ| (fp64, flat) from the first on, each time that it is called, in the same order.
Read = Callable[[], Iterable[Reals]]

_DIGIT = 16  # bits of |Δ| that one pass over the update tells apart
_FINE = 20  # leading bits (exponent, 8 of the mantissa) by which Gini's classes are told apart


@dataclass(frozen=True)
class Concentration:
    """How the ``changed`` (Δ ≠ 0) of ``n`` coordinates share an update.

    ================== ======================= ========================================================================
    energy             ΣΔ²
    participation      (ΣΔ²)²/(n·ΣΔ⁴)          share of coordinates that would carry it if all carried the same
    gini               Gini index of |Δ|       0 if all carry the same, near 1 if few carry all; over all n coordinates
    gini_error         ``gini`` may be lower   |Δ| within 2^-8 of one another are one class: less than 0.002, and 0
                       than the truth by this  where a class holds one value, as is common between bf16 weights
    counts             fewest coordinates      that hold each share of ΣΔ²: exact but for the rounding of sums in fp64
    ================== ======================= ========================================================================

    Of Δ = 0 everywhere, participation and gini are NaN and counts 0. Gini of the changed coordinates alone is
    1 − (1 − gini)·n/changed.
    """

    n: int
    changed: int
    energy: float
    participation: float
    gini: float
    gini_error: float
    counts: dict[float, int]


def concentration(read: Read, shares: Sequence[float] = (0.5, 0.9, 0.99)) -> Concentration:
    """Concentration of the update whose |Δ| ``read`` gives: in at most five passes, three if between bf16 weights.

    Memory: 8 MiB, and a few times a chunk, whatever the size. Raises ``ValueError`` for shares not in (0, 1], for |Δ|
    that are not finite, and where the largest one's fourth power leaves the range of fp64.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"shares of energy must be in (0, 1], not {share}")
    n = changed = 0
    energy = fourth = largest = 0.0
    used = np.uint64(0)
    number, total = np.zeros(1 << _FINE, np.int64), np.zeros(1 << _FINE)
    for chunk in read():
        n += chunk.size
        sizes = chunk[chunk != 0]
        if not sizes.size:
            continue
        changed += sizes.size
        if not np.isfinite(sizes).all():
            raise ValueError("the update is not finite: it has no energy")
        largest = max(largest, float(sizes.max()))
        if not 1e-70 < largest < 1e70:
            raise ValueError(f"the largest |Δ| is {largest:g}: its energy cannot be summed in fp64")
        squares = sizes * sizes
        energy += float(squares.sum())
        fourth += float(squares @ squares)
        words = sizes.view(np.uint64)
        used |= np.bitwise_or.reduce(words)
        classes = (words >> np.uint64(64 - _FINE)).astype(np.intp)
        number += np.bincount(classes, minlength=number.size)
        total += np.bincount(classes, weights=sizes, minlength=total.size)
    if not changed:
        return Concentration(n, 0, 0.0, math.nan, math.nan, 0.0, dict.fromkeys(shares, 0))
    gini, error = _gini(n, number, total, several=bool(used & _low(64 - _FINE)))
    counts = _counts(read, [share * energy for share in shares], used)
    return Concentration(
        n=n,
        changed=changed,
        energy=energy,
        participation=energy / n * energy / fourth,
        gini=gini,
        gini_error=error,
        counts=dict(zip(shares, counts, strict=True)),
    )


def _gini(n: int, number: npt.NDArray[np.int64], total: Reals, several: bool) -> tuple[float, float]:
    """Gini index of classes in ascending order, and by how much values within classes can raise it."""
    present = number > 0
    people, income = number[present] / n, total[present] / total.sum()
    # Twice the area between equality and the Lorenz curve, whose corners are exact; the first n - changed have nothing.
    reached = np.cumsum(income)
    gini = 1.0 - float(np.sum(people * (2 * reached - income)))
    # Of values within a factor of 1 + 2^-8 the Gini index is at most 2^-10.
    within = float(np.sum(people * income)) / 1024 if several else 0.0
    return gini, within


def _counts(read: Read, targets: Sequence[float], used: np.uint64) -> list[int]:
    """Fewest of |Δ|, from the largest down, whose squares reach each target; ``used`` has every bit that any |Δ| has.

    Numbers of one sign are ordered as their bits are. Each pass tells 16 more bits of the |Δ| at which a target is
    reached, until no bits are left that differ.
    """
    prefixes = [0] * len(targets)
    above, missing = [0] * len(targets), list(targets)
    equal = [(1, 1.0)] * len(targets)  # of the class at which each target is reached: coordinates, energy
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        distinct = sorted(set(prefixes))
        number = {prefix: np.zeros(1 << _DIGIT, np.int64) for prefix in distinct}
        energy = {prefix: np.zeros(1 << _DIGIT) for prefix in distinct}
        for chunk in read():
            sizes = chunk[chunk != 0]
            digits = sizes.view(np.uint64) >> np.uint64(shift)
            for prefix in distinct:
                chosen = digits >> np.uint64(_DIGIT) == np.uint64(prefix)
                digit = (digits[chosen] & _low(_DIGIT)).astype(np.intp)
                number[prefix] += np.bincount(digit, minlength=1 << _DIGIT)
                energy[prefix] += np.bincount(digit, weights=np.square(sizes[chosen]), minlength=1 << _DIGIT)
        for index, prefix in enumerate(prefixes):
            held = np.cumsum(energy[prefix][::-1])
            # The sums of this pass may be rounded otherwise than those of the last: its last class holds what is left.
            occupied = np.flatnonzero(number[prefix][::-1])
            at = min(int(np.searchsorted(held, missing[index])), int(occupied[-1]))
            above[index] += int(number[prefix][::-1][:at].sum())
            missing[index] -= float(held[at - 1]) if at else 0.0
            digit = (1 << _DIGIT) - 1 - at
            equal[index] = int(number[prefix][digit]), float(energy[prefix][digit])
            prefixes[index] = prefix << _DIGIT | digit
        if not used & _low(shift):
            break
    return [
        before + max(1, min(many, math.ceil(rest / (held / many))))
        for before, rest, (many, held) in zip(above, missing, equal, strict=True)
    ]


def _low(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)
