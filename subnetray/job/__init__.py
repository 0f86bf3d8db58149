"""One run, from its init to the measured final."""

from __future__ import annotations

from subnetray.job.launch import launch
from subnetray.job.spec import RunSpec

__all__ = ["RunSpec", "launch"]
