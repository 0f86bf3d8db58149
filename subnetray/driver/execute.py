"""A sweep from its plan to its report."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from subnetray import models, tasks
from subnetray.config import Cluster, EmbeddedModel, SweepConfig
from subnetray.driver import checks, cluster, estimate, tracking
from subnetray.driver.background import Background
from subnetray.driver.cluster import nodes
from subnetray.driver.ledger import Ledger
from subnetray.driver.session import launcher, session
from subnetray.driver.sweep_session import Inits, Say, SweepSession
from subnetray.grid.checks import check_engine
from subnetray.grid.plan import Plan, Run
from subnetray.mask_file import inspect
from subnetray.models.making import Making
from subnetray.process.clock import Clock
from subnetray.process.libraries import load
from subnetray.store import derived

if TYPE_CHECKING:
    from subnetray.reporting.findings import Findings
    from subnetray.rollout.pool import Pool


@dataclass(frozen=True)
class Missing:
    """The runs of a plan that are not done here: those to execute, and those that are done elsewhere, with the place.

    ``damaged``: why files of runs that had finished cannot be relied on, by id.
    """

    todo: list[Run]
    elsewhere: list[tuple[Run, Path]]
    damaged: dict[str, str]


def missing(ledger: Ledger, resume: str) -> Missing:
    """List what is left to do: runs without a result, with a failed or a damaged one, and sources that these need.

    First those that take longest, what waits for them included, so that none is left to wait for.
    """
    unique = {run.run_id: run for run in ledger.plan.runs}
    anew = resume == "never"
    left = [run for run in unique.values() if anew or not ledger.done(run)]
    damaged = (
        {} if anew else {run.run_id: str(s.reason) for run in left if (s := ledger.state(run)).status == "damaged"}
    )
    elsewhere = [] if anew else [(run, place) for run in left if (place := ledger.elsewhere(run)) is not None]
    found = {run.run_id for run, _ in elsewhere}
    left = [run for run in left if run.run_id not in found]
    needed = {run.source for run in left}
    left += [run for run in ledger.plan.sources if run.run_id in needed and not ledger.has_source(run.run_id, resume)]
    costs = {run.run_id: estimate.cost(run.config) for run in left}
    after: dict[str | None, float] = {}
    for run in left:
        after[run.source] = max(after.get(run.source, 0.0), costs[run.run_id])
    left.sort(key=lambda run: -(costs[run.run_id] + after.get(run.run_id, 0.0)))
    return Missing(left, elsewhere, damaged)


def check(sweep: SweepConfig, plan: Plan, ledger: Ledger) -> None:
    """Raise ConfigError for what would keep the sweep from running; nothing is started or written."""
    launcher.check()
    ledger.check(sweep.resume)
    checks.check_all(sweep, plan)


def execute(sweep: SweepConfig, plan: Plan, overrides: Sequence[str], say: Say) -> int:
    """Run what is missing and write all results; the number of runs that failed. Raises ConfigError before any work."""
    ledger = Ledger(sweep.directory, plan, sweep.store_directory)
    check(sweep, plan, ledger)
    clock = Clock()
    cache = Path(sweep.cache) if sweep.cache else models.default_cache()
    with clock("prepare"):
        inits = _locate(plan, cache, say)
        _check_inits(plan, inits)
    this = SweepSession(sweep, ledger, inits, cache, say, clock)
    ledger.open(overrides, sweep.resume)
    left = missing(ledger, sweep.resume)
    for run_id, reason in left.damaged.items():
        say(f"run {run_id} is damaged ({reason}): it runs again")
    if left.elsewhere:
        say(f"{len(left.elsewhere)} runs are done already and are taken over, as from {left.elsewhere[0][1].parent}")
    for run, place in left.elsewhere:
        ledger.take(run, place)
    ledger.note_seen()
    # W&B's process, too, leaves what it writes for itself in the session's directory, also where no run is left to do.
    with session.entered(sweep.cluster.address is None):
        if not left.todo and derived.is_fresh(ledger.directory, ledger.inputs()):
            where = _track(this)
            say(f"all {len(plan.runs)} runs are done: nothing to do; the report is {ledger.directory / derived.REPORT}")
            if where:
                say(where)
            return 0
        derived.begin(ledger.directory)
        try:
            if not left.todo:
                return _gather(this)
            return _run(this, left.todo)
        except KeyboardInterrupt:
            undone = sum(not ledger.done(run) for run in {run.run_id: run for run in plan.runs}.values())
            say(
                f"interrupted: {undone} runs are left, and the same command goes on with them"
                if undone
                else "interrupted: all runs are done, and the same command writes the report"
            )
            raise


def _run(this: SweepSession, todo: Sequence[Run]) -> int:
    """Run ``todo`` and write all results; the number of runs that failed."""
    sweep, ledger, say, clock = this.sweep, this.ledger, this.say, this.clock
    # All of this goes on at once: inits are made, engines and the processes of runs import libraries, each on a core.
    # Runs wait for their init's directory, and for their engines.
    with (
        Making(_absent(this.inits), this.cache, say) as making,
        _ray(sweep.cluster, clock),
        Background() as background,
    ):
        if sweep.cluster.address is not None:
            nodes.check(_wanted(this, todo), say)
        background.run(making.wait)
        with clock("engines"):
            say(f"starting the rollout engines ({sweep.run.rollout.name})")
            pool = _engines(todo, this.inits, this.cache)
        background.run(pool.wait)
        # Ray is imported only now: it reads its settings from the environment when it is.
        load("subnetray.driver.tuning.schedule")
        from subnetray.driver.finish import Execution, finish
        from subnetray.driver.gather import Gatherer
        from subnetray.driver.live import LivePage
        from subnetray.driver.pairs import Pairs
        from subnetray.driver.tuning.schedule import run_all

        plan = ledger.plan
        tracker = tracking.Tracker(sweep.tracker, plan, ledger.directory, say)
        pairs = Pairs([run.run_id for run in plan.runs], ledger.directory / derived.OVERLAP)
        gatherer = Gatherer(ledger, this.inits, pairs, tracker)
        with LivePage(ledger.directory, say, sweep.report.live) as page:
            run_all(this, todo, pool, gatherer, page)
        gatherer.write()
        return finish(sweep, ledger, Execution(todo, clock, making.cpu_s), tracker, say)


def _wanted(this: SweepSession, todo: Sequence[Run]) -> nodes.Wanted:
    """Return what ``todo`` needs of the nodes of a cluster."""
    config = this.sweep.cluster
    asked = {"a run": cluster.trial_resources(config)}
    if config.workers:
        asked["a worker of a run"] = {"CPU": config.cpus_per_run, "GPU": config.gpus_per_worker}
    for rollout in {run.config.rollout for run in todo}:
        asked["a rollout engine"] = {"CPU": rollout.cpus_per_engine, "GPU": rollout.gpus_per_engine}
    there = tuple(init for init in this.inits.values() if init.is_dir())
    return nodes.Wanted(this.ledger.directory, this.cache, there, asked)


def _gather(this: SweepSession) -> int:
    """Make tables and the report of runs that are all done; the number of runs that failed, which is 0."""
    ledger, say = this.ledger, this.say
    from subnetray.driver.finish import Execution, finish
    from subnetray.driver.gather import Gatherer, identity
    from subnetray.driver.pairs import Pairs

    say(f"all {len(ledger.plan.runs)} runs are done: their tables and the report are made again")
    pairs = Pairs([run.run_id for run in ledger.plan.runs], ledger.directory / derived.OVERLAP)
    known = pairs.knows({run.run_id: identity(ledger.result(run) or {}) for run in ledger.plan.runs})
    with Making([] if known else _absent(this.inits), this.cache, say) as making:
        making.wait()
        tracker = tracking.Tracker(this.sweep.tracker, ledger.plan, ledger.directory, say)
        gatherer = Gatherer(ledger, this.inits, pairs, tracker)
        gatherer.found()
        gatherer.write()
        return finish(this.sweep, ledger, Execution([], Clock(), making.cpu_s), tracker, say)


def _track(this: SweepSession) -> str | None:
    """Track what was not taken when it was made; of what was, nothing is logged again. Returns where to see it."""
    ledger = this.ledger
    tracker = tracking.Tracker(this.sweep.tracker, ledger.plan, ledger.directory, this.say)
    labels = ledger.plan.labels
    for run in ledger.finished():
        files = tracking.RunFiles(ledger.run_directory(run), this.inits.get(run.config.model))
        tracker.finish(run, labels[run.run_id], files, ledger.row(run, ledger.result(run) or {}))
    return tracker.close(lambda: _findings(ledger.directory))


def _findings(directory: Path) -> Findings:
    from subnetray.reporting.tracked import findings  # and pandas with it, which planning does without

    return findings(directory)


def _absent(inits: Inits) -> list[EmbeddedModel]:
    """The models that are yet to be trained."""
    return [model for model, init in inits.items() if isinstance(model, EmbeddedModel) and not init.is_dir()]


@contextlib.contextmanager
def _ray(config: Cluster, clock: Clock) -> Iterator[None]:
    # While Ray starts this process has nothing to do but to import what needs no Ray. It goes on when both are done:
    # where two threads import modules of this package, circular imports between them fail.
    importing = threading.Thread(target=_load_beside, args=("subnetray.driver.gather", "subnetray.reporting.report"))
    importing.start()
    try:
        with clock("ray"):
            cluster.start(config)
    finally:
        importing.join()
    try:
        yield
    finally:
        # Not beside other work: a handle of Ray's that is let go of while it stops ends the process.
        cluster.stop()


def _load_beside(*names: str) -> None:
    """Import modules in a thread, which may still do so when the process has been told to end."""
    try:
        load(*names)
    except RuntimeError:  # no function can be registered for the exit, and no thread started, once it has begun
        if threading.main_thread().is_alive():
            raise


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


def _check_inits(plan: Plan, inits: Inits) -> None:
    """Raise ConfigError for a run whose engine could not hold its model, or whose mask is not one of its model's."""
    for model, rollout_config in {(run.config.model, run.config.rollout) for run in (*plan.runs, *plan.sources)}:
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
