"""A sweep from its plan to its report."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from subnetray import models, tasks
from subnetray.clock import Clock
from subnetray.config import Cluster, EmbeddedModel, SweepConfig
from subnetray.driver import cluster, estimate, machine, tracking
from subnetray.driver.aside import Aside
from subnetray.driver.ledger import Ledger
from subnetray.grid.checks import check_engine
from subnetray.grid.plan import Plan, Run
from subnetray.libraries import load
from subnetray.mask_file import inspect
from subnetray.models.making import Making

if TYPE_CHECKING:
    from subnetray.rollout.pool import Pool

Say = Callable[[str], None]
Inits = dict[models.Model, Path]  # their directories


def pending(ledger: Ledger, resume: str) -> list[Run]:
    """The runs without a result, or with a failed one, and sources that these need and that are done nowhere.

    First those that take longest, what waits for them included, so that none is left to wait for.
    """
    unique = {run.run_id: run for run in ledger.plan.runs}
    missing = [run for run in unique.values() if resume == "never" or not ledger.done(run)]
    needed = {run.source for run in missing}
    missing += [
        run for run in ledger.plan.sources if run.run_id in needed and not ledger.has_source(run.run_id, resume)
    ]
    costs = {run.run_id: estimate.cost(run.config) for run in missing}
    after: dict[str | None, float] = {}
    for run in missing:
        after[run.source] = max(after.get(run.source, 0.0), costs[run.run_id])
    return sorted(missing, key=lambda run: -(costs[run.run_id] + after.get(run.run_id, 0.0)))


def check(sweep: SweepConfig, plan: Plan, ledger: Ledger) -> None:
    """Raise ConfigError for what would keep the sweep from running; nothing is started or written."""
    ledger.check(sweep.resume)
    machine.check_packages(run.config.rollout for run in plan.runs)
    tracking.check(sweep.tracking)
    if sweep.cluster.address is None:
        machine.runs_at_once(sweep, machine.engines(run.config.rollout for run in (*plan.runs, *plan.sources)))


def execute(sweep: SweepConfig, plan: Plan, overrides: Sequence[str], say: Say) -> int:
    """Run what is missing and write all results; the number of runs that failed. Raises ConfigError before any work."""
    ledger = Ledger(sweep.directory, plan)
    check(sweep, plan, ledger)
    ledger.open(overrides, sweep.resume)
    todo = pending(ledger, sweep.resume)
    if not todo:
        say(f"all {len(plan.runs)} runs are done: nothing to do; the report is {ledger.directory / 'report.md'}")
        return 0
    clock = Clock()
    cache = Path(sweep.cache).expanduser() if sweep.cache else models.default_cache()
    with clock("prepare"):
        inits = _locate(plan, cache, say)
        _check_inits(plan, todo, inits)
    # All of this goes on at once: inits are made, engines and the processes of runs import libraries, each on a core.
    # Runs wait for their init's directory, and for their engines.
    missing = [model for model, init in inits.items() if isinstance(model, EmbeddedModel) and not init.is_dir()]
    with Making(missing, cache, say) as making, _ray(sweep.cluster, clock), Aside() as aside:
        aside.run(making.wait)
        with clock("engines"):
            say(f"starting the rollout engines ({sweep.run.rollout.name})")
            pool = _engines(todo, inits, cache)
        aside.run(pool.wait)
        # Ray is imported only now: it reads its settings from the environment when it is.
        load("subnetray.driver.schedule")
        from subnetray.driver.conclude import conclude
        from subnetray.driver.pairs import Pairs
        from subnetray.driver.schedule import run_all

        tracker, pairs = tracking.Tracker(sweep.tracking, plan, ledger.directory), Pairs()
        run_all(sweep, ledger, todo, inits, pool, tracker, pairs, say, clock)
        return conclude(sweep, ledger, todo, making.cpu_s, tracker, pairs, say, clock)


@contextlib.contextmanager
def _ray(config: Cluster, clock: Clock) -> Iterator[None]:
    # While Ray starts this process has nothing to do but to import what needs no Ray.
    threading.Thread(target=load, args=("subnetray.driver.conclude",)).start()
    with clock("ray"):
        cluster.start(config)
    try:
        yield
    finally:
        # Not beside other work: a handle of Ray's that is let go of while it stops ends the process.
        cluster.stop()


def _locate(plan: Plan, cache: Path, say: Say) -> Inits:
    """The directory of every init that the plan's runs start from; all but training is done, tasks are made ready."""
    inits = {
        config: models.locate(config, cache, _log(config.name, say))
        for config in dict.fromkeys(run.config.model for run in plan.runs)
    }
    # By content: the parameters of a task may be a table, which is no key.
    runs = (*plan.runs, *plan.sources)
    for task in {repr(run.config.task): run.config.task for run in runs}.values():
        tasks.prepare(task, _log(task.name, say))
    return inits


def _check_inits(plan: Plan, todo: Sequence[Run], inits: Inits) -> None:
    """Raise ConfigError for a run whose engine could not hold its model, or whose mask is not one of its model's."""
    for model, rollout_config in {(run.config.model, run.config.rollout) for run in todo}:
        shape = models.architecture(model) or json.loads((inits[model] / "config.json").read_bytes())
        check_engine(shape, rollout_config)
    files = {(mask, run.config.model) for run in plan.runs if (mask := run.config.subnetwork.file) is not None}
    for mask, model in sorted(files, key=repr):
        inspect(mask).require(models.parameter_shapes(model, inits[model]), inits[model])


def _log(name: str, say: Say) -> Say:
    return lambda text: say(f"{name}: {text}")


def _engines(todo: Sequence[Run], inits: Inits, cache: Path) -> Pool:
    """Engines for all runs, which start while inits are made."""
    load("subnetray.rollout")
    from subnetray import rollout

    blanks = {inits[model]: models.locate_blank(model, cache) for model in inits if isinstance(model, EmbeddedModel)}
    return rollout.start([(inits[run.config.model], run.config.rollout) for run in todo], blanks)
