"""A sweep's directory: what is in it, whose it is, and what of it is whole."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from subnetray.config import ConfigError
from subnetray.files import atomic_path, read_whole, remove_unfinished, write_atomic
from subnetray.grid.plan import Plan, Run
from subnetray.grid.sources import beside
from subnetray.mask_file import inspect
from subnetray.store import columns, derived, results
from subnetray.store.results import State

VERSION = 2
_VERSIONS = (1, VERSION)  # of sweep.yaml, that a sweep goes on with
_SEEN = ".verified.json"
_WHERE = ("out", "cache", "store", "dry_run", "resume", "on_failed_runs", "tracking", "checkpoint", "report")
# Beyond this a run that is taken over is linked, not copied: a file of another sweep is then one with this one's.
_COPIED_BYTES = 64 << 20


class Ledger:
    """Results of a plan's runs under ``directory``; a result exists whole or not at all.

    ``store``: a directory that keeps every finished run by its id, for many sweeps.
    """

    def __init__(self, directory: Path, plan: Plan, store: Path | None = None) -> None:
        self.directory, self.plan, self.store = directory, plan, store
        self._done: dict[Path, State] = {}
        self._sources: dict[str, Path] = {}
        self._seen: dict[str, Any] = _json(directory / _SEEN)
        self._lock: int | None = None

    @property
    def sweep_file(self) -> Path:
        return self.directory / "sweep.yaml"

    def run_directory(self, run: Run) -> Path:
        """Where the files of a run lie."""
        return self.directory / "runs" / run.run_id

    def check(self, resume: str) -> None:
        """Raise ConfigError unless the directory is new or a sweep's, as ``resume`` asks; writes nothing."""
        try:
            self._check(resume)
        except OSError as error:
            raise ConfigError(f"out: {self.directory} cannot be read ({error.strerror}): choose another") from error

    def _check(self, resume: str) -> None:
        if self.directory.exists() and not self.directory.is_dir():
            raise ConfigError(f"out must be a directory, and {self.directory} is a file")
        if self._owner() is not None:
            if (problem := derived.misplaced(self.directory)) is not None:
                raise ConfigError(f"out: {problem}")
            return
        if self.directory.is_dir() and any(item.name not in (".lock", _SEEN) for item in self.directory.iterdir()):
            raise ConfigError(f"out must be a new directory or that of a sweep, and {self.directory} holds other files")
        if resume == "must":
            raise ConfigError(f"resume=must, but {self.directory} holds no sweep to resume")

    def open(self, overrides: Sequence[str], resume: str) -> None:
        """Take the directory for this process and write ``sweep.yaml``. Raises ConfigError as :meth:`check` does.

        ``resume=never`` removes what sweeps wrote here, and nothing else.
        """
        self.check(resume)
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.lock():
            raise ConfigError(f"out: another sweep is running in {self.directory}")
        if resume == "never":
            self._clear()
        self.tidy()
        self._describe(overrides)

    def lock(self) -> bool:
        """Lock the directory; False while a sweep runs here. The kernel drops the lock with the process."""
        if self._lock is None:
            path = self.directory / ".lock"
            try:
                self._lock = os.open(path, os.O_CREAT | os.O_RDWR)
            except OSError as error:
                if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENOENT):
                    raise
                raise ConfigError(f"{path} is no file, and a sweep locks one of this name: move it away") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let others write here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def tidy(self) -> None:
        """Remove what a killed driver was writing, and the scratch files of Ray that it left."""
        for directory in (self.directory, self.directory / "figures", self.directory / "tables"):
            remove_unfinished(directory)
        for directory in self.directory.glob("runs/*"):
            remove_unfinished(directory)
            shutil.rmtree(directory / ".train", ignore_errors=True)
            if (directory / results.RESULT).is_file():  # killed before the run removed it
                results.forget(directory)
        shutil.rmtree(self.directory / ".tune", ignore_errors=True)

    def named(self) -> list[Path]:
        """List what ``resume=never`` removes: files of runs that a sweep noted here, and what it derived from them."""
        owner = self._owner() or {}
        ids = {*_run_ids(owner.get("runs")), *_run_ids(owner.get("kept"))}
        places = [self.directory / "runs" / run_id for run_id in sorted(ids)]
        runs = [path for place in places for path in results.of_run(place)]
        unfinished = [path for place in places for path in results.unfinished(place)]
        return [*unfinished, *runs, *derived.written(self.directory)]

    def _clear(self) -> None:
        for path in self.named():
            path.unlink()
            # Directories go when they are empty.
            for parent in path.parents:
                if parent == self.directory or any(parent.iterdir()):
                    break
                parent.rmdir()
        self._done.clear()

    def _describe(self, overrides: Sequence[str]) -> None:
        """Write ``sweep.yaml``: the grid, its runs, and the commands that were executed here, each once.

        What says where the sweep is and how it goes on is no part of it: a copy elsewhere has the same bytes.
        """
        overrides = [text for text in overrides if re.split(r"[=.]", text.lstrip("+"))[0] not in _WHERE]
        owner = self._owner() or {}
        mine = {run.run_id: run for run in (*self.plan.runs, *self.plan.sources)}
        kept = sorted({*_run_ids(owner.get("runs")), *_run_ids(owner.get("kept"))} - mine.keys())
        kept = [run_id for run_id in kept if (self.directory / "runs" / run_id).is_dir()]
        history = [list(each) for each in owner.get("history", ())]
        if owner and not history and owner.get("overrides"):
            history = [list(owner["overrides"])]
        if not history or history[-1] != list(overrides):
            history.append(list(overrides))
        content = {
            "version": VERSION,
            "grid": dataclasses.asdict(self.plan.grid),
            "overrides": list(overrides),
            "history": history,
            "kept": kept,
            "runs": [_entry(run) for run in self.plan.runs],
        }
        text = yaml.dump(
            content, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
        )
        if not self.sweep_file.is_file() or self.sweep_file.read_bytes() != text.encode():
            write_atomic(self.sweep_file, text)

    def state(self, run: Run) -> State:
        """Return what is there of a run; a run that is done is looked at once."""
        return self._inspect(self.run_directory(run), self._seen.get(run.run_id))

    def _inspect(self, directory: Path, known: results.Stats | None = None) -> State:
        """Return what a run's directory holds; one that was done is not looked at again by this process."""
        if directory not in self._done:
            state = results.inspect(directory, known)
            if state.status != "done":
                return state
            self._done[directory] = state
        return self._done[directory]

    def note_seen(self) -> None:
        """Keep what the files of finished runs look like, so that they are not read again while they do."""
        runs = self.directory / "runs"
        seen = {place.name: state.stats for place, state in self._done.items() if place.parent == runs}
        if seen != self._seen:
            self._seen = seen
            write_atomic(self.directory / _SEEN, json.dumps(seen))

    def result(self, run: Run) -> dict[str, Any] | None:
        """Return a run's ``result.json``; None while there is none that can be relied on."""
        return self.state(run).result

    def done(self, run: Run) -> bool:
        """Return whether the run has finished and need not run again."""
        return self.state(run).status == "done"

    def finished(self) -> list[Run]:
        """Return the runs of the plan that are done here, and the sources that are."""
        return [run for run in (*self.plan.runs, *self.plan.sources) if self.done(run)]

    def seconds(self, run: Run) -> float | None:
        """Wall-clock that a finished run took, None if it is not known any more."""
        found = _json(self.run_directory(run) / results.TIME).get("seconds", {}).get("total")
        return found if isinstance(found, float) else None

    def elsewhere(self, run: Run) -> Path | None:
        """Find a run that is missing here and done elsewhere: in ``store``, or in a sweep beside this one."""
        places = [] if self.store is None else [self.store / run.run_id]
        return self._first_done((*places, *beside(self.directory, run.run_id)))

    def _first_done(self, places: Iterable[Path]) -> Path | None:
        return next((place for place in places if self._inspect(place).status == "done"), None)

    def take(self, run: Run, place: Path) -> None:
        """Take over a run that is done at ``place``."""
        _copy(place, self.run_directory(run))

    def publish(self, run: Run) -> None:
        """Keep a finished run in ``store``, if there is one."""
        if self.store is not None and self._inspect(self.store / run.run_id).status != "done":
            _copy(self.run_directory(run), self.store / run.run_id)

    def source_directory(self, run_id: str) -> Path:
        """Where the files of a source lie: in a sweep beside this one where it is done there, and no cell here."""
        if run_id not in self._sources:
            own = self.directory / "runs" / run_id
            cell = any(run.run_id == run_id for run in self.plan.runs)
            self._sources[run_id] = (None if cell else self._first_done(beside(self.directory, run_id))) or own
        return self._sources[run_id]

    def has_source(self, run_id: str, resume: str) -> bool:
        """Whether a source that is no cell is done, here (unless ``resume`` is never) or in a sweep beside this one."""
        directory = self.source_directory(run_id)
        if resume == "never" and directory.is_relative_to(self.directory):
            return False
        return self.source_problem(run_id) is None

    def source_problem(self, run_id: str) -> str | None:
        """Why no mask can be made of a source that has ended, or None."""
        directory = self.source_directory(run_id)
        state = self._inspect(directory)
        if state.status == "missing":
            return "ended without a result"
        if state.status == "damaged":
            return f"is damaged: {state.reason}"
        if state.result is not None and state.status == "failed":
            return f"failed: {state.result['error']}"
        try:
            inspect(directory / results.MASK)
        except ConfigError as error:
            return f"has no mask to use: {error}"
        return None

    @cached_property
    def columns(self) -> list[columns.Column]:
        """The columns of ``runs.parquet``."""
        tolerances = self.plan.runs[0].config.measurement.tolerances if self.plan.runs else ()
        return columns.of_runs(self.plan.grid.factors, tolerances)

    def row(self, run: Run, result: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a run in ``runs.parquet``."""
        return columns.row(self.columns, _entry(run), run.config.to_dict(), result)

    def rows(self) -> list[dict[str, Any]]:
        """One row a run that has a result, in the order of the plan: the columns of ``runs.parquet``."""
        return [self.row(run, result) for run in self.plan.runs if (result := self.result(run)) is not None]

    def times(self) -> list[dict[str, Any]]:
        """One row a finished run: what it took, in seconds, by phase."""
        found = {run.run_id: _json(self.run_directory(run) / results.TIME) for run in self.plan.runs if self.done(run)}
        return [{"run_id": run_id, **each.get("seconds", {})} for run_id, each in found.items()]

    def write_table(self, name: str, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
        """Write ``name`` (a Parquet file) atomically."""
        with atomic_path(self.directory / name) as temporary:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)

    def write_runs(self) -> None:
        """Write ``runs.parquet`` and ``time.parquet``."""
        self.write_table(derived.RUNS, self.rows(), columns.schema(self.columns))
        times = self.times()
        phases = dict.fromkeys(key for row in times for key in row if key != "run_id")
        schema = pa.schema([("run_id", pa.string()), *((phase, pa.float64()) for phase in phases)])
        self.write_table(derived.TIMES, times, schema)

    def inputs(self) -> list[Any]:
        """Return what tables and reports are made from: the grid, and every result as it was read."""
        runs = [(_entry(run), results.digest(self.result(run))) for run in self.plan.runs]
        return [dataclasses.asdict(self.plan.grid), runs]

    def write_time(
        self,
        seconds: Mapping[str, float],
        inits_cpu_s: float,
        runs: Sequence[str],
        cores: int | None,
        cores_per_run: float,
    ) -> None:
        """Write ``time.json``: wall-clock of the sweep by phase, for ``runs``, those that it has executed this time.

        ``inits_cpu_s``: processor time of training inits, which goes on beside the phases. ``cores``: of this machine;
        None on a cluster.
        """
        content = {
            "seconds": {phase: round(value, 4) for phase, value in seconds.items()},
            "inits_cpu_s": inits_cpu_s,
            "cores": cores,
            "cores_per_run": cores_per_run,
            "runs": list(runs),
        }
        write_atomic(self.directory / derived.TIME, json.dumps(content, indent=1))

    def _owner(self) -> dict[str, Any] | None:
        """The content of ``sweep.yaml``; None where there is none. Files of that name that others write are refused."""
        # A sweep's own: what is missing or damaged is written again, and the runs are there under their ids.
        ours = (self.directory / ".lock").is_file() and (self.directory / "runs").is_dir()
        try:
            content = yaml.load(read_whole(self.sweep_file), Loader=_LOADER)
        except FileNotFoundError:
            return {} if ours else None
        except (yaml.YAMLError, ValueError, AttributeError, RecursionError):  # of what its loader makes, too
            content = None
        if ours and (content is None or isinstance(content, str)):
            return {}
        if not (
            isinstance(content, dict)
            and content.get("version") in _VERSIONS
            and isinstance(content.get("grid"), dict)
            and isinstance(content.get("runs"), list)
        ):
            raise ConfigError(
                f"out must be a new directory or that of a sweep, and {self.sweep_file} is no description of a sweep"
                " that this version of subnetray wrote: choose another directory"
            )
        return content


def _entry(run: Run) -> dict[str, Any]:
    entry = {"run_id": run.run_id, "seed": run.seed, "cell": dict(run.cell)}
    return entry if run.source is None else {**entry, "source": run.source}


def _run_ids(entries: Any) -> Iterable[str]:
    """Ids of the runs that a ``sweep.yaml`` names; version 1 had nothing but these."""
    for entry in entries or ():
        run_id = entry.get("run_id") if isinstance(entry, dict) else entry
        if isinstance(run_id, str) and run_id.isalnum():
            yield run_id


def _copy(source: Path, target: Path) -> None:
    """Make ``target`` a copy of the run in ``source``, its result last."""
    target.mkdir(parents=True, exist_ok=True)
    results.clear(target)
    files = [path for path in results.of_run(source) if path.name != results.RESULT]
    for path in (*files, source / results.RESULT):
        with atomic_path(target / path.name) as temporary:
            if path.stat().st_size > _COPIED_BYTES:
                temporary.unlink()
                try:
                    os.link(path, temporary)
                    continue
                except OSError:  # another file system
                    temporary.touch()
            shutil.copyfile(path, temporary)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_whole(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
