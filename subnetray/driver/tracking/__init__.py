"""Weights & Biases: one run a run, grouped by sweep, and one for the sweep with its tables.

All of W&B runs in a process of its own, so that the driver never waits for it unasked: see :mod:`.process`.
"""

from __future__ import annotations

from subnetray.driver.tracking.account import check
from subnetray.driver.tracking.lineage import RunFiles
from subnetray.driver.tracking.tracker import Tracker

__all__ = ["RunFiles", "Tracker", "check"]
