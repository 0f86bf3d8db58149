"""A sweep from its plan to its report."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from subnetray import models, tasks
from subnetray.clock import Clock
from subnetray.config import SweepConfig
from subnetray.driver import cluster, estimate, machine, tracking
from subnetray.driver.ledger import Ledger
from subnetray.driver.progress import Progress
from subnetray.grid.checks import check_engine
from subnetray.grid.plan import Plan, Run
from subnetray.job.spec import RunSpec
from subnetray.mask_file import inspect

Say = Callable[[str], None]


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
        inits = _prepare(plan, cache, say)
    for model, rollout_config in {(run.config.model, run.config.rollout) for run in todo}:
        check_engine(json.loads((inits[model] / "config.json").read_bytes()), rollout_config)
    _check_masks(plan, inits)
    with clock("ray"):
        cluster.start(sweep.cluster)
    # Ray is imported only now: it reads its settings from the environment when it is.
    import ray

    from subnetray import rollout

    try:
        say(f"starting the rollout engines ({sweep.run.rollout.name})")
        with clock("engines"):
            pool = rollout.start((inits[run.config.model], run.config.rollout) for run in todo)
            pool.wait(timeout_s=900)
        specs = {
            run.run_id: _spec(
                sweep, ledger, run, inits, pool.names.get((inits[run.config.model], run.config.rollout), ())
            )
            for run in (*plan.runs, *plan.sources)
        }
        failed = _run_all(sweep, ledger, specs, todo, len(pool.handles), say, clock)
    finally:
        ray.shutdown()
    return failed


def _prepare(plan: Plan, cache: Path, say: Say) -> dict[Any, Path]:
    """The directory of every init that the plan's runs start from; tasks are made ready too."""
    inits = {}
    for config in dict.fromkeys(run.config.model for run in plan.runs):

        def log(text: str, name: str = config.name) -> None:
            say(f"{name}: {text}")

        inits[config] = models.prepare(config, cache, log)
    # By content: the parameters of a task may be a table, which is no key.
    runs = (*plan.runs, *plan.sources)
    for task in {repr(run.config.task): run.config.task for run in runs}.values():
        tasks.prepare(task, lambda text, name=task.name: say(f"{name}: {text}"))  # type: ignore[misc]
    return inits


def _check_masks(plan: Plan, inits: dict[Any, Path]) -> None:
    """Raise ConfigError for a run whose mask is not one of its model's."""
    pairs = {(run.config.subnetwork.file, inits[run.config.model]) for run in plan.runs}
    for mask, init in sorted((mask, init) for mask, init in pairs if mask is not None):
        inspect(mask).require(models.parameter_shapes(init), init)


def _spec(sweep: SweepConfig, ledger: Ledger, run: Run, inits: dict[Any, Path], engines: Sequence[str]) -> RunSpec:
    config, mask = run.config, run.config.subnetwork.file
    if mask is not None:  # a trial has another working directory
        config = dataclasses.replace(
            config, subnetwork=dataclasses.replace(config.subnetwork, mask=str(mask.absolute()))
        )
    return RunSpec(
        run_id=run.run_id,
        config=config,
        init=inits[run.config.model],
        directory=ledger.run_directory(run),
        engines=tuple(engines),
        workers=sweep.cluster.workers,
        cpus_per_worker=sweep.cluster.cpus_per_run,
        gpus_per_worker=sweep.cluster.gpus_per_worker,
        source=None if run.source is None else ledger.source_directory(run.source),
        sharded=sweep.cluster.sharded,
    )


def _run_all(
    sweep: SweepConfig,
    ledger: Ledger,
    specs: dict[str, RunSpec],
    todo: Sequence[Run],
    engines: int,
    say: Say,
    clock: Clock,
) -> int:
    from ray import tune

    from subnetray.driver.observer import Observer
    from subnetray.driver.order import Order
    from subnetray.driver.pairs import Pairs
    from subnetray.driver.searcher import InOrder
    from subnetray.driver.trial import trial
    from subnetray.reporting.report import write_report

    plan = ledger.plan
    at_once = machine.runs_at_once(sweep, engines) if sweep.cluster.address is None else sweep.cluster.max_concurrent
    costs = {run.run_id: estimate.cost(run.config) for run in todo}
    unique = {run.run_id: run for run in plan.runs}
    others = sum(run.run_id not in unique for run in todo)
    total = len(unique) + others
    say(
        f"{len(todo)} of {total} runs to do, {at_once if at_once is not None else 'as many as fit'} at a time;"
        f" results go to {ledger.directory}"
    )
    identity = hashlib.sha256("".join(sorted(unique)).encode()).hexdigest()[:8]
    tracker = tracking.Tracker(sweep.tracking, ledger.directory, plan.grid.name, identity)
    pairs = Pairs()
    progress = Progress(total, total - len(todo), costs, say)
    storage = ledger.directory / ".tune"
    with clock("runs"), Observer(ledger, specs, pairs, tracker, progress) as observer:
        order = Order({run.run_id: run.source for run in todo}, ledger.source_problem, observer.events.failed)
        tuner = tune.Tuner(
            tune.with_resources(trial, cluster.trial_resources(sweep.cluster)),
            param_space={"max_failures": sweep.cluster.max_failures},
            tune_config=tune.TuneConfig(
                search_alg=InOrder(order, specs),
                num_samples=len(todo),
                max_concurrent_trials=len(todo) if at_once is None else at_once,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=plan.grid.name,
                storage_path=str(storage),
                callbacks=[observer.events],
                failure_config=tune.FailureConfig(max_failures=sweep.cluster.max_failures),
                verbose=0,
            ),
        )
        tuner.fit()
    observer.write()
    shutil.rmtree(storage, ignore_errors=True)
    say("writing the report")
    cores = machine.cores() if sweep.cluster.address is None else None
    executed = ([run.run_id for run in todo], cores, sweep.cluster.cpus_per_run * max(1, sweep.cluster.workers))
    ledger.write_time(clock.seconds, *executed)
    with clock("report"):
        report = write_report(ledger.directory)
    ledger.write_time(clock.seconds, *executed)
    rows = ledger.rows()
    failed = sum(row["status"] != "done" for row in rows)
    left = len(unique) - len(rows)
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
