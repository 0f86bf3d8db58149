"""Findings of a sweep as a tracker takes them: plain values, rows and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """All of it, by keys in sections, as in ``sparsity/method/grpo/mean``; no two parts have a key in common."""

    summary: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    images: Mapping[str, Path] = field(default_factory=dict)
    pages: Mapping[str, Path] = field(default_factory=dict)
