"""The former place of :mod:`subnetray.config.compose`."""

from __future__ import annotations

from subnetray.config.compose import GROUPS, RUN_KEYS, Composer, explain, parse

__all__ = ["GROUPS", "RUN_KEYS", "Composer", "explain", "parse"]
