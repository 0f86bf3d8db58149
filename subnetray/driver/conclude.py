"""What is written once the runs have ended: the time they took, the report, and the sweep's own line in the tracker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from subnetray.clock import Clock
from subnetray.config import SweepConfig
from subnetray.driver import machine
from subnetray.driver.ledger import Ledger
from subnetray.driver.pairs import Pairs
from subnetray.driver.tracking import Tracker
from subnetray.grid.plan import Run
from subnetray.reporting.report import write_report


def conclude(
    sweep: SweepConfig,
    ledger: Ledger,
    todo: Sequence[Run],
    making_s: float,
    tracker: Tracker,
    pairs: Pairs,
    say: Callable[[str], None],
    clock: Clock,
) -> int:
    """Write all of it; the number of runs that failed.

    ``making_s``: processor time that inits took. Raises KeyboardInterrupt if runs of the plan are left to do.
    """
    say("writing the report")
    cores = machine.cores() if sweep.cluster.address is None else None
    executed = (
        making_s,
        [run.run_id for run in todo],
        cores,
        sweep.cluster.cpus_per_run * max(1, sweep.cluster.workers),
    )
    ledger.write_time(clock.seconds, *executed)
    with clock("report"):
        report = write_report(ledger.directory)
    ledger.write_time(clock.seconds, *executed)
    rows = ledger.rows()
    failed = sum(row["status"] != "done" for row in rows)
    left = len({run.run_id for run in ledger.plan.runs}) - len(rows)
    tracker.close(
        {"runs": rows, "overlap": pairs.rows},
        {"runs": len(rows), "failed": failed},
    )
    say(f"{len(rows) - failed} runs done, {failed} failed; the report is {report}")
    if left:
        # Tune takes the first Ctrl-C as a request to stop, and returns.
        say(f"interrupted: {left} runs are left, and the same command goes on with them")
        raise KeyboardInterrupt
    return failed
