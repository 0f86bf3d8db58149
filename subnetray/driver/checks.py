"""Check what would keep a command from running, before any work and in ``dry_run=true`` alike.

A check is a function of a sweep and its plan that raises ConfigError, one sentence, and starts, makes and writes
nothing; one more is one more function in ``CHECKS``. What the plan itself refuses is in ``grid.checks``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from subnetray import models, tasks
from subnetray.config import ConfigError, DatasetTask, EmbeddedModel, PretrainedModel, SmolLM2Model, SweepConfig
from subnetray.driver import machine, tracking
from subnetray.grid.plan import Plan
from subnetray.mask_file import inspect
from subnetray.places import existing, free_bytes, hub_cache, require_writable

_MIB = 1 << 20
# That a sweep of the embedded model, its report, and Ray's own files take at least.
_OUT_MIB, _TEMPORARY_MIB = 32, 64
# Of an init that is made or unpacked here.
_INIT_MIB = {EmbeddedModel: 4, SmolLM2Model: 300}


def check_all(sweep: SweepConfig, plan: Plan) -> None:
    """Raise ConfigError for the first thing that would keep the plan's runs from being executed.

    Whose the sweep's directory is, the ledger knows.
    """
    for check in CHECKS:
        check(sweep, plan)


def packages(_: SweepConfig, plan: Plan) -> None:
    """Check that the packages that runs import are installed."""
    machine.check_packages(run.config.rollout for run in (*plan.runs, *plan.sources))


def account(sweep: SweepConfig, _: Plan) -> None:
    """There is an account to log to."""
    tracking.check(sweep.tracking)


def fit(sweep: SweepConfig, plan: Plan) -> None:
    """A run and the engines fit on this machine, if it is this machine that they run on."""
    if sweep.cluster.address is None:
        machine.runs_at_once(sweep, machine.engines(run.config.rollout for run in (*plan.runs, *plan.sources)))


def out(sweep: SweepConfig, plan: Plan) -> None:
    """The sweep's directory can be made and written to, and its disk has room for the least that is left to do."""
    require_writable(sweep.directory, "out", "choose another directory with out=")
    left = {
        run.run_id: run for run in plan.runs if not (sweep.directory / "runs" / run.run_id / "result.json").exists()
    }
    needed = sum(_least_bytes(run.config.model) for run in left.values()) + (_OUT_MIB * _MIB if left else 0)
    _require_room(sweep.directory, needed, "out", "free some, or choose another directory with out=")


def cache(sweep: SweepConfig, plan: Plan) -> None:
    """Inits that are yet to be made or fetched can be kept."""
    place, fetched = _cache(sweep), hub_cache()
    needed = 0
    for model in _models(plan):
        if isinstance(model, PretrainedModel):
            if models.architecture(model) is None:  # of the hub
                require_writable(fetched, "the cache of the Hugging Face hub", "choose another with HF_HOME")
        elif not _made(model, place):
            require_writable(place, "the cache", "choose another with cache= or SUBNETRAY_CACHE")
            needed += _INIT_MIB[type(model)] * _MIB
    _require_room(place, needed, "the cache", "free some, or choose another with cache= or SUBNETRAY_CACHE")
    if any(not tasks.local(task) for task in _tasks(plan)):
        require_writable(fetched, "the cache of the Hugging Face hub", "choose another with HF_HOME")


def temporary(sweep: SweepConfig, _: Plan) -> None:
    """Processes have a place for what they do not keep, and one for memory that they share."""
    try:
        place = Path(tempfile.gettempdir())
    except OSError as error:
        raise ConfigError("TMPDIR must name a directory that can be written to, and neither it nor /tmp is") from error
    _require_room(place, _TEMPORARY_MIB * _MIB, "TMPDIR", "free some, or choose another directory with TMPDIR")
    shared = Path("/dev/shm")
    if sweep.cluster.address is None and (not shared.is_dir() or not os.access(shared, os.W_OK)):
        raise ConfigError(
            f"{shared} must be a directory that can be written to, as Ray's processes share memory there: mount a tmpfs"
        )


def data(_: SweepConfig, plan: Plan) -> None:
    """Data that are on this machine have the columns and rows that runs read, and rewards can be imported."""
    for task in _tasks(plan):
        if tasks.local(task):
            tasks.prepare(task, lambda _: None)
        elif isinstance(task, DatasetTask):
            tasks.check(task)


def masks(sweep: SweepConfig, plan: Plan) -> None:
    """Masks that files hold are of the models that they are to restrict, if these are here already."""
    wanted = {(file, run.config.model) for run in plan.runs if (file := run.config.subnetwork.file) is not None}
    for file, model in sorted(wanted, key=repr):
        if (init := _present(model, _cache(sweep))) is not None:
            inspect(file).require(models.parameter_shapes(model, init), init)


Check = Callable[[SweepConfig, Plan], None]
CHECKS: tuple[Check, ...] = (packages, account, fit, out, cache, temporary, data, masks)


def _require_room(place: Path, needed: int, what: str, remedy: str) -> None:
    if needed and (free := free_bytes(place)) < needed:
        raise ConfigError(
            f"{what} needs at least {-(-needed // _MIB)} MiB on the disk of {existing(place)}, which has"
            f" {free // _MIB} left: {remedy}"
        )


def _cache(sweep: SweepConfig) -> Path:
    return Path(sweep.cache) if sweep.cache else models.default_cache()


def _models(plan: Plan) -> list[models.Model]:
    return list(dict.fromkeys(run.config.model for run in (*plan.runs, *plan.sources)))


def _tasks(plan: Plan) -> list[tasks.Config]:
    # By content: the parameters of a task may be a table, which is no key.
    return list({repr(run.config.task): run.config.task for run in (*plan.runs, *plan.sources)}.values())


def _made(model: EmbeddedModel | SmolLM2Model, cache: Path) -> bool:
    return models.place(model, cache).is_dir()


def _present(model: models.Model, cache: Path) -> Path | None:
    """The directory from which the shapes of the model's parameters can be told now."""
    if isinstance(model, PretrainedModel):
        return None if models.architecture(model) is None else Path(model.path).resolve()
    init = models.place(model, cache)
    return init if isinstance(model, EmbeddedModel) or init.is_dir() else None


def _least_bytes(model: models.Model) -> int:
    """Return the bytes of a run's mask, a bit a weight; a model that is not on this machine counts nothing."""
    if not isinstance(model, PretrainedModel) or models.architecture(model) is None:
        return 0
    files = Path(model.path).glob("*.safetensors")
    return sum(file.stat().st_size for file in files) // 32  # of up to 4 bytes a weight
