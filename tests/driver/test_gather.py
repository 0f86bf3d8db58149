"""Which runs are gathered as they are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from subnetray.driver.gather import Gatherer
from subnetray.driver.ledger import Ledger
from subnetray.driver.pairs import Pairs
from subnetray.driver.tracking import Tracker
from subnetray.grid import Run
from tests.driver.sweeps import make_restricted_plan, write_result


class _Logged:
    """A tracker that keeps what it is told to finish."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}

    def finish(self, run: Run, label: str, *_: Any) -> None:
        self.labels[run.run_id] = label


def test_a_source_that_was_done_when_the_driver_was_killed_is_tracked_by_the_next(tmp_path: Path) -> None:
    plan = make_restricted_plan()
    first, second = plan.sources
    write_result(tmp_path, first)
    logged = _Logged()
    pairs = Pairs([run.run_id for run in plan.runs], tmp_path / "overlap.parquet")
    Gatherer(Ledger(tmp_path, plan), {}, pairs, cast(Tracker, logged)).found()
    assert logged.labels == {first.run_id: f"the source of {plan.labels[plan.runs[0].run_id]}"}
    assert second.run_id in plan.labels
