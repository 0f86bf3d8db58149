"""A sweep's tables and report, made again from its runs: no grid is composed, nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from subnetray import models
from subnetray.config import ConfigError, RunConfig, Tracking
from subnetray.driver.finish import report
from subnetray.driver.gather import Gatherer, identity
from subnetray.driver.ledger import Ledger
from subnetray.driver.pairs import Pairs
from subnetray.driver.progress import Say
from subnetray.driver.tracking import Tracker
from subnetray.files import read_whole
from subnetray.grid.plan import Plan, Run
from subnetray.models import Model
from subnetray.reporting.report import write_report
from subnetray.reporting.source import entries, grid_of, sweep_file
from subnetray.store import derived, results


def derive(directory: Path, cache: Path, say: Say) -> Path:
    """Write the report of the sweep in ``directory``; the path of ``report.md``. Raises ConfigError for no sweep.

    Tables that do not fit the runs are made again first, unless the sweep is running. ``cache``: where the inits of
    embedded models are, of which nothing is made.
    """
    content = sweep_file(directory)
    if (problem := derived.misplaced(directory)) is not None:
        raise ConfigError(f"sweep: {problem}")
    path = directory / derived.REPORT
    if content["version"] == 1:
        write_report(directory)
        return path
    plan = Plan(grid_of(content, directory), tuple(_runs(directory, entries(content, directory))))
    ledger = Ledger(directory, plan)
    if not ledger.lock():
        write_report(directory)
        return path
    try:
        for run in plan.runs:
            if (state := ledger.state(run)).status == "damaged":
                say(f"run {run.run_id} is left out, as {state.reason}: the command that ran the sweep runs it again")
        if _write_tables(ledger, cache, say):
            report(ledger)
        else:
            derived.begin(directory)
            write_report(directory)
    finally:
        ledger.release()
    return path


def _write_tables(ledger: Ledger, cache: Path, say: Say) -> bool:
    """Write the tables of the runs; whether all could be."""
    done = [run for run in ledger.plan.runs if ledger.done(run)]
    pairs = Pairs([run.run_id for run in ledger.plan.runs], ledger.directory / derived.OVERLAP)
    inits: dict[Model, Path] = {run.config.model: _init(run.config.model, cache) for run in done}
    known = pairs.knows({run.run_id: identity(result) for run in done if (result := ledger.result(run)) is not None})
    absent = [model.name for model, init in inits.items() if not init.is_dir()]
    if absent and not known:
        say(
            f"{derived.OVERLAP} is left as it is: the init of {', '.join(absent)} is not in {cache}, and pairs need it:"
            " name the sweep's cache with cache=DIR, or give the command that ran it again"
        )
        ledger.write_runs()
        _remove_damaged(ledger.directory / derived.OVERLAP)
        return False
    gatherer = Gatherer(ledger, inits, pairs, Tracker(Tracking(mode="disabled"), ledger.plan, ledger.directory, say))
    gatherer.found()
    gatherer.write()
    return True


def _remove_damaged(table: Path) -> None:
    try:
        pq.read_metadata(table)
    except (OSError, ValueError, pa.ArrowException):
        table.unlink(missing_ok=True)


def _init(model: Model, cache: Path) -> Path:
    """Return a model's init; a path that does not exist if it is not here."""
    try:
        return models.locate(model, cache, lambda text: None)
    except (ConfigError, OSError):
        return cache / "models" / "absent"


def _runs(directory: Path, listed: list[dict[str, Any]]) -> list[Run]:
    """The runs that have left something, each with the config that it wrote."""
    found = []
    for entry in listed:
        path = directory / "runs" / entry["run_id"] / results.CONFIG
        try:
            config = RunConfig.from_dict(yaml.safe_load(read_whole(path)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError):
            continue
        found.append(Run(entry["run_id"], entry["cell"], entry["seed"], config, entry.get("source")))
    return found
