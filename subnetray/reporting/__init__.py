"""Tables and figures of a sweep, from its files."""

from __future__ import annotations

from subnetray.reporting.report import write_report

__all__ = ["write_report"]
