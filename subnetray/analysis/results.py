"""What the runs of a grid came to: all that effects, claims and sections are computed from, passed whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from subnetray.config import Grid

Of = Callable[[str], Sequence[Mapping[str, Any]]]  # a run, by its id


@dataclass(frozen=True)
class Results:
    """The results of a grid's runs.

    ``runs``: the table ``runs.parquet``. ``pairs``: as :func:`subnetray.analysis.pairs.label_pairs` makes them.
    ``metrics``: what a run wrote step by step. ``tensors``: what its result says of each of its tensors.
    """

    grid: Grid
    runs: pd.DataFrame
    pairs: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    metrics: Of = lambda run_id: ()
    tensors: Of = lambda run_id: ()

    def among(self, runs: pd.DataFrame) -> Results:
        """The same with other rows, or more columns, of runs."""
        return dataclasses.replace(self, runs=runs)
