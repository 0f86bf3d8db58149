"""``python examples/sweeps.py DIRECTORY``: what a sweep found, in a few lines of pandas.

DIRECTORY: a sweep's, as ``outputs/smoke`` after ``python -m subnetray.sweep +grid=smoke``; it may still run.
"""

from __future__ import annotations

import sys

import pandas as pd

from subnetray import Sweep


def densities(sweep: Sweep) -> pd.DataFrame:
    """Return mean and range over seeds of the share of weights that a run changed, by cell."""
    done = sweep.runs[sweep.runs["status"] == "done"]
    return done.groupby(list(sweep.grid.factors))["density_bitwise"].agg(["mean", "min", "max", "count"])


def overlaps(sweep: Sweep) -> pd.DataFrame:
    """Return how far masks overlap, beside what the joint null expects, of pairs that differ in one thing alone."""
    alone = sweep.pairs[~sweep.pairs["differs"].str.contains("+", regex=False)]
    return alone.groupby("differs")[["o1", "joint_o1"]].mean().sort_values("o1", ascending=False)


def verdicts(sweep: Sweep) -> pd.DataFrame:
    """Return the verdict of every claim that the grid can test, with its estimate."""
    tested = sweep.claims[sweep.claims["verdict"] != "not tested"]
    return tested[["verdict", "estimate", "unit"]]


def main(directory: str) -> None:
    """Print all of it."""
    sweep = Sweep.open(directory)
    print(f"{sweep.grid.name}: {len(sweep.runs)} of {sweep.planned} runs, {len(sweep.pairs)} pairs")
    for table in (densities(sweep), overlaps(sweep), verdicts(sweep)):
        print(f"\n{table.to_string()}")


if __name__ == "__main__":
    main(sys.argv[1])
