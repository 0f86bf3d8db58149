"""Report every fault's outcome, as a table and as lines of JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SHOWN = 6


@dataclass(frozen=True)
class Outcome:
    """One fault: ``skipped`` says why it could not be done, ``missed`` why its moment did not come."""

    seed: int
    fault: str
    about: str
    moment: str
    seconds: float
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    skipped: str | None = None
    missed: str | None = None

    @property
    def well(self) -> bool:
        """Return whether nothing came of it, or it could not be done here."""
        return not (self.lost or self.repeated or self.orphans or self.problems or self.missed)

    @property
    def state(self) -> str:
        """One word."""
        return "skipped" if self.skipped else "missed" if self.missed else "equal" if self.well else "NOT EQUAL"


def line(outcome: Outcome) -> str:
    """A row of the table, and below it what is wrong."""
    counts = "  ".join(f"{len(each):4}" for each in (outcome.lost, outcome.repeated, outcome.orphans))
    rows = [
        f"{outcome.fault:15} {outcome.seconds:6.0f}  {counts}  {outcome.state:9}  "
        f"{outcome.skipped or outcome.missed or outcome.moment}"
    ]
    for what in ("lost", "repeated"):
        if runs := getattr(outcome, what):
            rows.append(f"    {what}: {', '.join(runs)}")
    rows += [f"    orphan: {each}" for each in outcome.orphans[:_SHOWN]]
    rows += [f"    {each}" for each in outcome.problems[:_SHOWN]]
    if (more := len(outcome.problems) - _SHOWN) > 0:
        rows.append(f"    and {more} more")
    return "\n".join(rows)


HEADER = f"{'fault':15} {'s':>6}  {'lost':>4}  {'rept':>4}  {'orph':>4}  {'files':9}  moment"


def summary(outcomes: Sequence[Outcome]) -> str:
    """One sentence on all of them."""
    done = [each for each in outcomes if not each.skipped]
    lost, repeated, orphans = (
        sum(len(getattr(each, what)) for each in done) for what in ("lost", "repeated", "orphans")
    )
    return (
        f"{len(done)} faults of {len({each.fault for each in done})} kinds: {sum(each.well for each in done)} left no"
        f" trace; {lost} runs lost, {repeated} repeated, {orphans} orphans;"
        f" {sum(bool(each.missed) for each in done)} missed their moment, {len(outcomes) - len(done)} skipped"
    )


def append(path: Path, outcome: Outcome) -> None:
    """Add a line of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(dataclasses.asdict(outcome) | {"state": outcome.state}) + "\n")
