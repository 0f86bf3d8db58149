"""One execution of a sweep, from its command to its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from subnetray.config import SweepConfig
from subnetray.driver.ledger import Ledger
from subnetray.models import Model
from subnetray.process.clock import Clock

Say = Callable[[str], None]
Inits = dict[Model, Path]  # their directories


@dataclass(frozen=True)
class SweepSession:
    """All parts of an execution share what is in here.

    ``sweep`` is what was asked for, ``ledger`` knows what is done, ``inits`` are the directories of the runs' models in
    ``cache``; ``say`` takes lines for the user, ``clock`` the seconds of each phase.
    """

    sweep: SweepConfig
    ledger: Ledger
    inits: Inits
    cache: Path
    say: Say
    clock: Clock
