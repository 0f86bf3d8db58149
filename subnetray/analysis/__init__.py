"""Pure table code: effects, intervals, overlaps between runs. Needs pandas and numpy only, as in a notebook."""

from __future__ import annotations

from subnetray.analysis.effects import Cell, Crossing, Origin, crossings, origins
from subnetray.analysis.intervals import Estimate, jackknife, pair_interval, t_interval
from subnetray.analysis.pairs import Group, around_baseline, factor_groups, group, label_pairs, seed_groups

__all__ = [
    "Cell",
    "Crossing",
    "Estimate",
    "Group",
    "Origin",
    "around_baseline",
    "crossings",
    "factor_groups",
    "group",
    "jackknife",
    "label_pairs",
    "origins",
    "pair_interval",
    "seed_groups",
    "t_interval",
]
