"""Sections that other packages add to the report, by the entry points ``subnetray.sections``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from subnetray import plugins
from subnetray.analysis.results import Results
from subnetray.reporting.document import Block

Section = Callable[[Results], Sequence[Block]]


def _misfit(_: str, section: Any) -> str | None:
    return None if callable(section) else "a section is a function of Results that returns blocks"


SECTIONS: tuple[Section, ...] = tuple(plugins.load("sections", _misfit).values())


def added(results: Results) -> list[Block]:
    """The blocks of all such sections, in the order of their names."""
    return [block for section in SECTIONS for block in section(results)]
