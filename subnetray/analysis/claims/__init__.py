"""Judge what the literature claims by the runs of a grid."""

from __future__ import annotations

from subnetray.analysis.claims.factors import claims

__all__ = ["claims"]
