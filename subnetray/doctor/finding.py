"""A check's finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from subnetray.text import LINE, clean

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """``what`` is known, and what to ``do``, if there is something; ``problem``: runs would fail or not start."""

    status: Status
    what: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.status:7}  {clean(self.what, LINE)}{f': {clean(self.do, LINE)}' if self.do else ''}"


Check = Callable[[], Iterable[Finding]]
