"""A sweep from its plan to its report."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from subnetray import models
from subnetray.config import SweepConfig
from subnetray.driver import estimate, machine, tracking
from subnetray.driver.ledger import Ledger
from subnetray.driver.progress import Progress, clock
from subnetray.grid.plan import Plan, Run
from subnetray.job.spec import RunSpec

Say = Callable[[str], None]

# Ray's own settings, read when it starts: no usage reports, quiet Tune, quick Train.
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def directory_of(sweep: SweepConfig, plan: Plan) -> Path:
    """Where the sweep's results go, absolute."""
    return Path(sweep.out or f"outputs/{plan.grid.name}").expanduser().absolute()


def pending(ledger: Ledger, resume: str) -> list[Run]:
    """The runs without a result, or with a failed one; the longest first, so that none is left to wait for."""
    unique = {run.run_id: run for run in ledger.plan.runs}
    missing = [run for run in unique.values() if resume == "never" or not ledger.done(run)]
    return sorted(missing, key=lambda run: -estimate.cost(run.config))


def check(sweep: SweepConfig, plan: Plan, ledger: Ledger) -> None:
    """Raise ConfigError for what would keep the sweep from running; nothing is started or written."""
    ledger.check(sweep.resume)
    machine.check_packages()
    tracking.check(sweep.tracking)
    if sweep.cluster.address is None:
        machine.runs_at_once(sweep, sweep.run.rollout.engines)


def execute(sweep: SweepConfig, plan: Plan, overrides: Sequence[str], say: Say) -> int:
    """Run what is missing and write all results; the number of runs that failed. Raises ConfigError before any work."""
    ledger = Ledger(directory_of(sweep, plan), plan)
    check(sweep, plan, ledger)
    ledger.open(overrides, sweep.resume)
    todo = pending(ledger, sweep.resume)
    if not todo:
        say(f"all {len(plan.runs)} runs are done: nothing to do; the report is {ledger.directory / 'report.md'}")
        return 0
    cache = Path(sweep.cache).expanduser() if sweep.cache else models.default_cache()
    inits = _prepare(plan, cache, say)
    _start_ray(sweep)
    # Ray is imported only now: it reads its settings from the environment when it is.
    import ray

    from subnetray import rollout

    try:
        say("starting the rollout engines (vLLM)")
        pool = rollout.start((inits[run.config.model], run.config.rollout) for run in todo)
        pool.wait(timeout_s=900)
        specs = {
            run.run_id: _spec(
                sweep, ledger, run, inits, pool.names.get((inits[run.config.model], run.config.rollout), ())
            )
            for run in plan.runs
        }
        failed = _run_all(sweep, ledger, specs, todo, len(pool.handles), say)
    finally:
        ray.shutdown()
    return failed


def _prepare(plan: Plan, cache: Path, say: Say) -> dict[Any, Path]:
    """The directory of every init that the plan's runs start from."""
    inits = {}
    for config in dict.fromkeys(run.config.model for run in plan.runs):

        def log(text: str, name: str = config.name) -> None:
            say(f"{name}: {text}")

        inits[config] = models.prepare(config, cache, log)
    return inits


def _start_ray(sweep: SweepConfig) -> None:
    for key, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import ray

    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    # Processes that share cores must not each start a thread a core.
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "HF_HUB_OFFLINE": "1"}
    if sweep.cluster.address is not None:
        ray.init(address=sweep.cluster.address, runtime_env={"env_vars": environment}, **quiet)
        return
    ray.init(
        address="local",
        num_cpus=machine.cores(),
        # Train asks the dashboard's API whether a worker group still lives; runs in local mode have none.
        include_dashboard=sweep.cluster.workers > 0,
        dashboard_host="127.0.0.1",
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": environment},
        **quiet,
    )


def _spec(sweep: SweepConfig, ledger: Ledger, run: Run, inits: dict[Any, Path], engines: Sequence[str]) -> RunSpec:
    return RunSpec(
        run_id=run.run_id,
        config=run.config,
        init=inits[run.config.model],
        directory=ledger.run_directory(run),
        engines=tuple(engines),
        workers=sweep.cluster.workers,
        cpus_per_worker=sweep.cluster.cpus_per_run,
        gpus_per_worker=sweep.cluster.gpus_per_worker,
    )


def _run_all(
    sweep: SweepConfig, ledger: Ledger, specs: dict[str, RunSpec], todo: Sequence[Run], engines: int, say: Say
) -> int:
    from ray import tune

    from subnetray.driver.observer import Observer
    from subnetray.driver.pairs import Pairs
    from subnetray.driver.trial import trial
    from subnetray.reporting import write_report

    plan, cluster = ledger.plan, sweep.cluster
    at_once = machine.runs_at_once(sweep, engines) if cluster.address is None else cluster.max_concurrent
    costs = {run.run_id: estimate.cost(run.config) for run in todo}
    unique = {run.run_id: run for run in plan.runs}
    say(
        f"{len(todo)} of {len(unique)} runs to do, {at_once if at_once is not None else 'as many as fit'} at a time;"
        f" results go to {ledger.directory}"
    )
    identity = hashlib.sha256("".join(sorted(unique)).encode()).hexdigest()[:8]
    tracker = tracking.Tracker(sweep.tracking, ledger.directory, plan.grid.name, identity)
    pairs = Pairs()
    progress = Progress(len(unique), len(unique) - len(todo), costs, say)
    storage = ledger.directory / ".tune"
    with Observer(ledger, specs, pairs, tracker, progress) as observer:
        tuner = tune.Tuner(
            tune.with_resources(trial, _resources(sweep)),
            param_space={
                "spec": tune.grid_search([specs[run.run_id].to_dict() for run in todo]),
                "max_failures": cluster.max_failures,
            },
            tune_config=tune.TuneConfig(max_concurrent_trials=at_once or 0, reuse_actors=True),
            run_config=tune.RunConfig(
                name=plan.grid.name,
                storage_path=str(storage),
                callbacks=[observer.events],
                failure_config=tune.FailureConfig(max_failures=cluster.max_failures),
                verbose=0,
            ),
        )
        tuner.fit()
    observer.write()
    shutil.rmtree(storage, ignore_errors=True)
    say("writing the report")
    report = write_report(ledger.directory)
    rows = ledger.rows()
    failed = sum(row["status"] != "done" for row in rows)
    tracker.close(
        {"runs": rows, "overlap": pairs.rows},
        {"runs": len(rows), "failed": failed},
    )
    say(f"{len(rows) - failed} runs done, {failed} failed; the report is {report}")
    return failed


def _resources(sweep: SweepConfig) -> dict[str, float]:
    """What a trial holds: the run itself in local mode, else only the process that waits for its worker group."""
    cluster = sweep.cluster
    if cluster.workers:
        return {"CPU": 0.1}
    resources = {"CPU": cluster.cpus_per_run}
    return resources | {"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else resources


__all__ = ["check", "clock", "directory_of", "execute", "pending"]
