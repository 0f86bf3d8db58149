"""Two-way analysis of variance of a balanced design with seeds as blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special


@dataclass(frozen=True)
class Effect:
    """One source of variance: its sum of squares, as a share of all (η²) and of itself plus error (partial η²)."""

    squares: float
    df: int
    eta: float
    partial_eta: float
    p: float  # of the F test against the error


@dataclass(frozen=True)
class Anova:
    """Rows, columns and their interaction; blocks (seeds) are taken out of the error."""

    rows: Effect
    columns: Effect
    interaction: Effect
    error_df: int


def two_way(values: NDArray[np.float64]) -> Anova:
    """Analysis of variance of ``values`` [rows, columns, blocks], one value a cell and block, none missing.

    Raises ValueError unless there are at least two rows, columns and blocks.
    """
    if values.ndim != 3 or min(values.shape) < 2:
        raise ValueError(f"values must have at least two rows, columns and blocks, not the shape {values.shape}")
    a, b, r = values.shape
    mean = values.mean()
    row, column = values.mean(axis=(1, 2)) - mean, values.mean(axis=(0, 2)) - mean
    interaction = values.mean(axis=2) - mean - row[:, None] - column[None, :]
    total = float(((values - mean) ** 2).sum())
    blocks = a * b * float(((values.mean(axis=(0, 1)) - mean) ** 2).sum())
    squares = (
        b * r * float((row**2).sum()),
        a * r * float((column**2).sum()),
        r * float((interaction**2).sum()),
    )
    # Rounding can leave a difference of equal numbers below zero.
    error, error_df = max(0.0, total - blocks - sum(squares)), (a * b - 1) * (r - 1)

    def effect(ss: float, df: int) -> Effect:
        p = float(special.fdtrc(df, error_df, ss / df / (error / error_df))) if error else float(ss == 0)
        return Effect(ss, df, ss / total if total else 0.0, ss / (ss + error) if ss + error else 0.0, p)

    return Anova(
        rows=effect(squares[0], a - 1),
        columns=effect(squares[1], b - 1),
        interaction=effect(squares[2], (a - 1) * (b - 1)),
        error_df=error_df,
    )
