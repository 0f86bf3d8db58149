"""``python -m subnetray.sweep +grid=NAME``: run every cell of a grid, measure it, and write the answer.

A grid of pairs (``+grid=checkpoints``) compares checkpoints that exist instead.

Exit codes: 0 all runs are done; 1 some failed (the rest are done and reported; 0 with on_failed_runs=exit0), or nothing
could be started; 2 bad input, found before work began; 130 or 143: it was interrupted, and the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from subnetray import cli
from subnetray.config import ConfigError, PairsConfig, SweepConfig
from subnetray.config.compose import Composer
from subnetray.config.shown import composed
from subnetray.driver import estimate, machine
from subnetray.driver.execute import check, execute, missing
from subnetray.driver.ledger import Ledger
from subnetray.driver.progress import clock
from subnetray.driver.tracking import masks
from subnetray.grid import Plan, plan
from subnetray.grid.design import describe
from subnetray.grid.plan import check_name


def main(arguments: Sequence[str] | None = None, prog: str = "python -m subnetray.sweep") -> int:
    """Entry point, called as ``prog``; returns the exit code."""
    return cli.run(prog, __doc__, arguments, _run, config_dir=True)


def _run(options: argparse.Namespace) -> int:
    composer = Composer(options.config_dir)
    if (pairs := composer.pairs(options.overrides)) is not None:
        check_name(composer, options.overrides, pairs.grid.name, pairs.out)
        if options.cfg == "job":
            raise ConfigError(f"--cfg must be grid or all with +grid={pairs.grid.name}, which has no runs")
        return _print(pairs, options.cfg) if options.cfg else _compare(pairs)
    sweep, planned = plan(composer, options.overrides, masks.fetch)
    for sentence in planned.left_out:
        _say(f"# {sentence}" if options.cfg else sentence)
    if options.cfg:
        return _print(sweep, options.cfg)
    if sweep.dry_run:
        _show(sweep, planned)
        return 0
    return sweep.exit_code(execute(sweep, planned, options.overrides, _say))


def _print(config: SweepConfig | PairsConfig, part: str) -> int:
    print(composed(config, part), end="")
    return 0


def _compare(config: PairsConfig) -> int:
    """A grid of pairs of checkpoints: compare them instead of running anything."""
    # Here, as planning a sweep needs no torch.
    from subnetray.driver import comparisons

    if config.dry_run:
        comparisons.show(config, _say)
        return 0
    try:
        return 1 if comparisons.execute(config, _say) else 0
    except OSError as error:
        # The report could not be written; what is finished is whole, and the same command goes on from there.
        print(f"subnetray: {error}", file=sys.stderr)
        return 1


def _show(sweep: SweepConfig, planned: Plan) -> None:
    """Print the runs, which are done already, and how long the rest will take: after all checks of the command."""
    ledger = Ledger(sweep.directory, planned, sweep.store_directory)
    check(sweep, planned, ledger)
    left = missing(ledger, sweep.resume)
    todo = left.todo
    waiting = {run.run_id for run in todo}
    places = {run.run_id: place for run, place in left.elsewhere}
    for run in planned.runs:
        state = "to do" if run.run_id in waiting else "done"
        where = f", in {places[run.run_id]}" if run.run_id in places else ""
        why = f", as {left.damaged[run.run_id]}" if run.run_id in left.damaged else ""
        print(f"{run.run_id}  {state:5}  {describe(planned.grid, run.cell)} seed={run.seed}{where}{why}")
    others = [run for run in planned.sources if run.run_id in waiting]
    for run in others:
        print(f"{run.run_id}  to do  a source that is no cell of the grid, seed={run.seed}")
    total = len(planned.runs) + len(others)
    print(f"{total} runs, {total - len(todo)} done, {len(todo)} to do in {ledger.directory}")
    if sweep.resume == "never" and (removed := ledger.named()):
        print(f"resume=never would remove {len(removed)} files that sweeps wrote there, as {removed[0]}")
    if todo:
        at_once = sweep.cluster.max_concurrent or (
            max(1, int(machine.cores() // sweep.cluster.cpus_per_run)) if sweep.cluster.address is None else 1
        )
        done = [run for run in planned.runs if run.run_id not in waiting]
        seconds = estimate.seconds(todo, done, ledger.seconds, at_once)
        print(
            f"estimate: {clock(seconds)} (h:m:s), {at_once} at a time, after about 15 s of start-up"
            if seconds is not None
            else "estimate: unknown until a first run with this model has finished"
        )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
