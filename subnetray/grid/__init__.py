"""Factors to runs: the design, the overrides of a cell, run identity. No torch, Ray or TRL is imported here."""

from __future__ import annotations

from subnetray.grid.design import expand
from subnetray.grid.identity import run_id
from subnetray.grid.plan import Plan, Run, plan

__all__ = ["Plan", "Run", "expand", "plan", "run_id"]
