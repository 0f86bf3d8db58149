"""Overlap between runs: which pairs compare what, and what the nulls leave unexplained.

A pair is labelled by what its two runs differ in. Pairs that differ in the seed alone say how much two runs of one
cell share; pairs of one seed that differ in one factor say what that factor leaves in common. Runs of one seed also
share the order of prompts and the random numbers: pairs that differ in the factor and the seed tell the two apart.
Pairs share runs, so intervals come from the jackknife over seeds: leaving one out drops every pair that it is part of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from subnetray.analysis.effects import done
from subnetray.analysis.intervals import NOTHING, Estimate, pair_interval
from subnetray.config import Grid
from subnetray.grid.design import baseline, describe
from subnetray.nulls import NULLS, STRONGEST

SEED = "seed"


@dataclass(frozen=True)
class Against:
    """A group's overlap o1 against one null: shares of the first run's mask, and odds ratios (geometric means)."""

    expected: Estimate
    excess: Estimate  # o1 - expected
    room: Estimate  # (o1 - expected) / (1 - expected): of the room that it leaves, how much is taken
    odds_ratio: Estimate  # NOTHING of a null that has none


@dataclass(frozen=True)
class Group:
    """Pairs that compare the same things. Shares of the first run's mask, and odds ratios (geometric means)."""

    differs: tuple[str, ...]  # factors, and "seed"
    level_a: str  # of the only factor that differs; "" otherwise
    level_b: str
    context: str  # levels that both runs share and that are not the baseline's; "" at the baseline
    pairs: int
    o1: Estimate
    o2: Estimate
    jaccard: Estimate
    kappa: Estimate
    nulls: dict[str, Against]  # by the names of subnetray.nulls.NULLS
    sign_agreement: Estimate  # where both changed; of runs of one init, as is the next
    cosine: Estimate

    @property
    def strongest(self) -> Against:
        """Against the null that claims are tested against."""
        return self.nulls[STRONGEST]


def label_pairs(grid: Grid, runs: pd.DataFrame, overlap: pd.DataFrame) -> pd.DataFrame:
    """``overlap`` with what each pair differs in, and both runs' levels, seeds and export dtypes.

    Adds ``differs`` (as in ``method+seed``: factors in the grid's order, then "seed"), ``a.X`` and ``b.X`` for every
    factor X, ``seed`` and ``export_dtype``, and the expectations as shares, as in ``uniform_o1``. The two runs of a
    pair are put in order: the first factor that differs has its levels in the grid's order, failing that, seeds
    ascend. Pairs of runs that have no result (any more) are left out.
    """
    known = done(runs).set_index("run_id")
    pairs = overlap[overlap["run_a"].isin(known.index) & overlap["run_b"].isin(known.index)].reset_index(drop=True)
    swap = np.zeros(len(pairs), dtype=bool)
    decided = np.zeros(len(pairs), dtype=bool)
    code = np.zeros(len(pairs), dtype=np.int64)
    for bit, name in enumerate((*grid.factors, SEED)):
        order = (
            known[name] if name == SEED else known[name].map({v: i for i, v in enumerate(grid.factors[name].levels)})
        )
        a, b = order.loc[pairs["run_a"]].to_numpy(), order.loc[pairs["run_b"]].to_numpy()
        swap |= ~decided & (a > b)
        decided |= a != b
        code |= (a != b).astype(np.int64) << bit
    pairs = _swapped(pairs, swap)
    names = (*grid.factors, SEED)
    labels = {
        each: "+".join(name for bit, name in enumerate(names) if each >> bit & 1) for each in np.unique(code).tolist()
    }
    pairs["differs"] = [labels[each] for each in code.tolist()]
    for side in "ab":
        this = known.loc[pairs[f"run_{side}"]]
        for name in names:
            pairs[f"{side}.{name}"] = this[name].to_numpy()
        pairs[f"{side}.export_dtype"] = this["export_dtype"].to_numpy()
    for null in NULLS:
        pairs[f"{null}_o1"] = pairs[f"{null}_expected"] / pairs["k1"].where(pairs["k1"] > 0)
    return pairs


def seed_groups(grid: Grid, pairs: pd.DataFrame) -> list[Group]:
    """One group a cell: its runs with each other. The baseline first, then as in the table."""
    return _sorted(_groups(grid, pairs[pairs["differs"] == SEED], None))


def factor_groups(grid: Grid, pairs: pd.DataFrame, factor: str, reseeded: bool = False) -> list[Group]:
    """Pairs of one seed that differ in ``factor`` alone: one group for two levels in one context.

    ``reseeded``: pairs that differ in ``factor`` and the seed instead.
    """
    differs = f"{factor}+{SEED}" if reseeded else factor
    return _sorted(_groups(grid, pairs[pairs["differs"] == differs], factor))


def group(grid: Grid, pairs: pd.DataFrame) -> Group:
    """All of ``pairs``, at least one and all of the same ``differs``, as one group."""
    first = pairs.iloc[0]
    differs = tuple(str(first["differs"]).split("+"))
    factors = [name for name in differs if name != SEED]
    shared = {
        name: str(first[f"a.{name}"])
        for name in grid.factors
        if name not in differs and pairs[f"a.{name}"].nunique() == 1
    }
    only = factors[0] if len(factors) == 1 else None
    context = describe(grid, baseline(grid) | shared)
    units = list(zip(pairs["a.seed"].tolist(), pairs["b.seed"].tolist(), strict=True))

    def mean(values: pd.Series[float]) -> Estimate:
        return pair_interval(values.astype(float).tolist(), units)

    def geometric_mean(values: pd.Series[float]) -> Estimate:
        with np.errstate(divide="ignore"):
            logs = np.log(values.astype(float).to_numpy())
        # Of masks that are (almost) full or empty the ratio is 0, infinite or 0/0, which says nothing.
        return pair_interval(logs.tolist(), units).map(math.exp) if np.isfinite(logs).all() else NOTHING

    def against(name: str) -> Against:
        expected, odds = pairs[f"{name}_o1"].astype(float), f"{name}_odds_ratio"
        return Against(
            expected=mean(expected),
            excess=mean(pairs["o1"] - expected),
            room=mean((pairs["o1"] - expected) / (1 - expected).where(expected < 1)),
            odds_ratio=geometric_mean(pairs[odds]) if odds in pairs else NOTHING,
        )

    return Group(
        differs=differs,
        level_a=str(first[f"a.{only}"]) if only else "",
        level_b=str(first[f"b.{only}"]) if only else "",
        context="" if context == "baseline" else context,
        pairs=len(pairs),
        o1=mean(pairs["o1"]),
        o2=mean(pairs["o2"]),
        jaccard=mean(pairs["jaccard"]),
        kappa=mean(pairs["kappa"]),
        nulls={name: against(name) for name in NULLS},
        sign_agreement=mean(pairs["sign_agreement"]),
        cosine=mean(pairs["cosine"]),
    )


def around_baseline(grid: Grid, pairs: pd.DataFrame, *differs: str) -> pd.DataFrame:
    """Pairs that differ in exactly ``differs`` (factors, "seed"), with the baseline's levels elsewhere.

    Of each factor that differs, one of the two runs has the baseline's level.
    """
    label = "+".join(name for name in (*grid.factors, SEED) if name in differs)
    selected = pairs[pairs["differs"] == label]
    for name, level in baseline(grid).items():
        is_a = selected[f"a.{name}"] == level
        selected = selected[is_a | (selected[f"b.{name}"] == level) if name in differs else is_a]
    return selected


def _groups(grid: Grid, pairs: pd.DataFrame, factor: str | None) -> Iterator[tuple[tuple[int, ...], Group]]:
    keys = [f"a.{name}" for name in grid.factors] + ([f"b.{factor}"] if factor else [])
    if pairs.empty:
        return
    base = baseline(grid)
    for _, inside in pairs.groupby(keys, sort=False) if keys else [((), pairs)]:
        first = inside.iloc[0]
        rank = [
            list(grid.factors[name].levels).index(first[f"a.{name}"]) + 1 if first[f"a.{name}"] != base[name] else 0
            for name in grid.factors
            if name != factor
        ]
        varied = sum(position > 0 for position in rank)
        levels = [list(grid.factors[factor].levels).index(first[f"{side}.{factor}"]) for side in "ab"] if factor else []
        # Reversed: cells that vary the first factors come first, as in the grid.
        yield (varied, *[-(position > 0) for position in rank], *rank, *levels), group(grid, inside)


def _sorted(ranked: Iterator[tuple[tuple[int, ...], Group]]) -> list[Group]:
    return [each for _, each in sorted(ranked, key=lambda item: item[0])]


def _swapped(pairs: pd.DataFrame, swap: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pd.DataFrame:
    result = pairs.copy()
    sides = [(f"{name}_a", f"{name}_b") for name in ("run", "distance")]
    sides += [(name, f"{name[:-1]}b") for name in pairs.columns if name.startswith("equal_inside_") and name[-1] == "a"]
    for one, other in (("k1", "k2"), ("o1", "o2"), *sides):
        result[one] = pairs[one].where(~swap, pairs[other])
        result[other] = pairs[other].where(~swap, pairs[one])
    return result
