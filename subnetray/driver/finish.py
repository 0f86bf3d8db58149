"""Write what follows the runs: tables, times, the report, and the sweep's own line in the tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from subnetray.config import SweepConfig
from subnetray.driver import machine
from subnetray.driver.ledger import Ledger
from subnetray.driver.progress import Say
from subnetray.driver.tracking import Tracker
from subnetray.grid.plan import Run
from subnetray.process.clock import Clock
from subnetray.reporting.report import write_report
from subnetray.reporting.tracked import findings
from subnetray.store import derived


@dataclass(frozen=True)
class Execution:
    """The runs that were executed, and how long they took. ``inits_cpu_s``: processor time of inits."""

    todo: Sequence[Run]
    clock: Clock
    inits_cpu_s: float


def finish(sweep: SweepConfig, ledger: Ledger, executed: Execution, tracker: Tracker, say: Say) -> int:
    """Write all of it; the number of runs that failed. Raises KeyboardInterrupt if runs of the plan are left to do."""
    say("writing the report")
    clock, cluster = executed.clock, sweep.cluster
    cores = machine.cores() if cluster.address is None else None
    arguments = (
        executed.inits_cpu_s,
        [run.run_id for run in executed.todo],
        cores,
        cluster.cpus_per_run * max(1, cluster.workers),
    )
    if executed.todo:
        ledger.write_time(clock.seconds, *arguments)
    with clock("report"):
        report(ledger)
    if executed.todo:
        ledger.write_time(clock.seconds, *arguments)
    rows = ledger.rows()
    failed = sum(row["status"] != "done" for row in rows)
    left = len({run.run_id for run in ledger.plan.runs}) - len(rows)
    where = tracker.close(lambda: findings(ledger.directory))
    say(f"{len(rows) - failed} runs done, {failed} failed; the report is {ledger.directory / derived.REPORT}")
    if where:
        say(where)
    if left:
        # Tune takes the first Ctrl-C as a request to stop, and returns.
        raise KeyboardInterrupt
    return failed


def report(ledger: Ledger) -> None:
    """Write the report from the tables that are there, and note what all derived files were made from."""
    made = write_report(ledger.directory)
    tables = [ledger.directory / name for name in (derived.RUNS, derived.OVERLAP)]
    ledger.note_seen()
    derived.stamp(ledger.directory, ledger.inputs(), [*tables, *made])
