"""The runs of a sweep as trials of Ray Tune, watched while they go.

Ray must have been started before this is imported.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence

from ray import tune

from subnetray.config import OnPolicy
from subnetray.driver import cluster, estimate, machine
from subnetray.driver.gather import Gatherer
from subnetray.driver.live import LivePage
from subnetray.driver.progress import Progress
from subnetray.driver.sweep_session import SweepSession
from subnetray.driver.tuning.observer import Observer
from subnetray.driver.tuning.order import Order
from subnetray.driver.tuning.searcher import InOrder
from subnetray.driver.tuning.trial import trial
from subnetray.grid.plan import Run
from subnetray.job.spec import RunSpec
from subnetray.rollout.pool import Pool


def run_all(this: SweepSession, todo: Sequence[Run], pool: Pool, gatherer: Gatherer, page: LivePage) -> None:
    """Run ``todo``; all results are written, and go to ``gatherer`` with those that were there, and so to ``page``.

    The engines of ``pool`` serve the runs' models.
    """
    sweep, ledger = this.sweep, this.ledger
    plan = ledger.plan
    at_once = sweep.cluster.max_concurrent
    if sweep.cluster.address is None:
        at_once = machine.runs_at_once(sweep, len(pool.handles))
    specs = {
        run.run_id: _spec(this, run, pool.names.get((this.inits[run.config.model], run.config.rollout), ()))
        for run in (*plan.runs, *plan.sources)
    }
    costs = {run.run_id: estimate.cost(run.config) for run in todo}
    unique = {run.run_id: run for run in plan.runs}
    others = sum(run.run_id not in unique for run in todo)
    total = len(unique) + others
    this.say(
        f"{len(todo)} of {total} runs to do, {at_once if at_once is not None else 'as many as fit'} at a time;"
        f" results go to {ledger.directory}"
    )
    progress = Progress(total, total - len(todo), costs, this.say)
    storage = ledger.directory / ".tune"
    with this.clock("runs"), Observer(plan, specs, gatherer, progress, page) as observer:
        order = Order(
            {run.run_id: run.source for run in todo},
            ledger.source_problem,
            observer.events.failed,
            drawing={run.run_id for run in todo if isinstance(run.config.algorithm, OnPolicy)},
        )
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
        with cluster.tuning():
            tuner.fit()
    shutil.rmtree(storage, ignore_errors=True)


def _spec(this: SweepSession, run: Run, engines: Sequence[str]) -> RunSpec:
    sweep, ledger = this.sweep, this.ledger
    config, mask = run.config, run.config.subnetwork.file
    if mask is not None:  # a trial has another working directory
        config = dataclasses.replace(
            config, subnetwork=dataclasses.replace(config.subnetwork, mask=str(mask.absolute()))
        )
    return RunSpec(
        run_id=run.run_id,
        config=config,
        init=this.inits[run.config.model],
        directory=ledger.run_directory(run),
        engines=tuple(engines),
        workers=sweep.cluster.workers,
        cpus_per_worker=sweep.cluster.cpus_per_run,
        gpus_per_worker=sweep.cluster.gpus_per_worker,
        source=None if run.source is None else ledger.source_directory(run.source),
        sharded=sweep.cluster.sharded,
        checkpoint=sweep.checkpoint,
    )
