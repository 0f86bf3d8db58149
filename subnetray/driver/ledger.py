"""A sweep's directory: what is in it, whose it is, and the table of its runs."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from subnetray.config import ConfigError, Measurement
from subnetray.files import atomic_path, remove_unfinished, write_atomic
from subnetray.grid.plan import Plan, Run
from subnetray.grid.sources import finished
from subnetray.mask_file import inspect

_VERSION = 1


class Ledger:
    """Results of a plan's runs under ``directory``; a result exists whole or not at all."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.directory, self.plan = directory, plan
        self._results: dict[str, dict[str, Any]] = {}
        self._sources: dict[str, Path] = {}
        self._lock: int | None = None

    @property
    def sweep_file(self) -> Path:
        return self.directory / "sweep.yaml"

    def run_directory(self, run: Run) -> Path:
        """Where the files of a run lie."""
        return self.directory / "runs" / run.run_id

    def check(self, resume: str) -> None:
        """Raise ConfigError unless the directory is new or this sweep's, as ``resume`` asks; writes nothing."""
        if self.directory.exists() and not self.directory.is_dir():
            raise ConfigError(f"out must be a directory, and {self.directory} is a file")
        owner = self._owner()
        if owner is None:
            if self.directory.is_dir() and any(item.name != ".lock" for item in self.directory.iterdir()):
                raise ConfigError(
                    f"out must be a new directory or that of a sweep, and {self.directory} holds other files"
                )
            if resume == "must":
                raise ConfigError(f"resume=must, but {self.directory} holds no sweep to resume")
            return
        if owner.get("runs") != self._run_ids() and resume != "never":
            name = owner.get("grid", {}).get("name", "another")
            raise ConfigError(
                f"out: {self.directory} holds a sweep ({name}) of other runs: choose another directory with out=,"
                " or start anew with resume=never"
            )

    def open(self, overrides: Sequence[str], resume: str) -> None:
        """Take the directory for this process and write ``sweep.yaml``. Raises ConfigError as :meth:`check` does."""
        self.check(resume)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.directory / ".lock", os.O_CREAT | os.O_RDWR)
        try:
            # The kernel drops the lock with the process, however it ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"out: another sweep is running in {self.directory}") from None
        if resume == "never":
            for item in self.directory.iterdir():
                if item.is_dir():
                    shutil.rmtree(item)
                elif item.name != ".lock":
                    item.unlink()
        for directory in (self.directory, *self.directory.glob("runs/*")):
            remove_unfinished(directory)
        content = {
            "version": _VERSION,
            "grid": dataclasses.asdict(self.plan.grid),
            "overrides": list(overrides),
            "runs": self._run_ids(),
        }
        write_atomic(self.sweep_file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def result(self, run: Run) -> dict[str, Any] | None:
        """What a run's ``result.json`` says; None while there is none. A finished run is read once."""
        if (known := self._results.get(run.run_id)) is not None:
            return known
        result = _read(self.run_directory(run) / "result.json")
        if result is not None and result["status"] == "done":
            self._results[run.run_id] = result
        return result

    def done(self, run: Run) -> bool:
        """Whether the run has finished and need not run again."""
        result = self.result(run)
        return result is not None and result["status"] == "done"

    def source_directory(self, run_id: str) -> Path:
        """Where the files of a source lie: in a sweep beside this one where it is done there, and no cell here."""
        if run_id not in self._sources:
            own = self.directory / "runs" / run_id
            cell = any(run.run_id == run_id for run in self.plan.runs)
            self._sources[run_id] = own if cell else finished(self.directory, run_id) or own
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
        result = _read(directory / "result.json")
        if result is None:
            return "ended without a result"
        if result["status"] != "done":
            return f"failed: {result['error']}"
        try:
            inspect(directory / "mask.safetensors")
        except ConfigError as error:
            return f"has no mask to use: {error}"
        return None

    def rows(self) -> list[dict[str, Any]]:
        """One row a run that has a result, in the order of the plan: the columns of ``runs.parquet``."""
        return [row(run, result) for run in self.plan.runs if (result := self.result(run)) is not None]

    def write_table(self, name: str, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
        """Write ``name`` (a Parquet file) atomically."""
        with atomic_path(self.directory / name) as temporary:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)

    def write_runs(self) -> None:
        """Write ``runs.parquet``."""
        self.write_table("runs.parquet", self.rows(), runs_schema(self.plan))

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
        write_atomic(self.directory / "time.json", json.dumps(content, indent=1))

    def _owner(self) -> dict[str, Any] | None:
        if not self.sweep_file.is_file():
            return None
        try:
            content = yaml.safe_load(self.sweep_file.read_text())
        except yaml.YAMLError:
            content = None
        if not isinstance(content, dict):
            raise ConfigError(f"out: {self.sweep_file} is not readable: choose another directory, or remove it")
        return content

    def _run_ids(self) -> list[str]:
        return sorted({run.run_id for run in self.plan.runs})


def _read(path: Path) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {"run_id": path.parent.name, "status": "failed", "error": "its result.json is not readable"}
    return result


_EVALUATION = [
    f"accuracy_{kind}_{when}{suffix}"
    for kind in ("greedy", "sampled")
    for when in ("before", "after")
    for suffix in ("", "_se")
]
# Of sampled completions.
_ANSWERS = ("entropy", "completion_length", "truncated_share")


# Columns by where result.json has them.
_VIEWS = {
    "density_fp16": ("density", "float16"),
    "density_fp32": ("density", "float32"),
    **{f"energy_{percent}": ("energy", percent) for percent in ("50", "90", "99")},
    "participation": ("participation",),
    "reachable": ("reachable",),
}
_DYNAMICS = {
    "density_step": ("density_step",),
    "density_ever": ("density_ever",),
    **{name: ("counts", name) for name in ("cancelled_of_n", "cancelled_of_ever")},
    **{f"{name}_at_snapshots": ("at_snapshots", name) for name in ("cancelled_of_n", "cancelled_of_ever")},
    **{name: (name,) for name in ("coherence", "coherence_held", "growth", "growth_held")},
}


def runs_schema(plan: Plan) -> pa.Schema:
    """Columns of ``runs.parquet``: identity, factors, config, result."""
    text, real, whole = pa.string(), pa.float64(), pa.int64()
    tolerances = plan.runs[0].config.measurement.tolerances
    columns = [
        ("run_id", text),
        *((factor, text) for factor in plan.grid.factors),
        ("seed", whole),
        *((name, text) for name in ("status", "error", "model", "task", "algorithm", "precision")),
        ("lr", real),
        *((name, text) for name in ("export_dtype", "init_hash", "final_hash")),
        *((name, real) for name in ("reward_before", "reward_after", *_EVALUATION)),
        *((f"{name}_{when}", real) for name in _ANSWERS for when in ("before", "after")),
        ("kl_to_init", real),
        ("eval_n", whole),
        ("density_bitwise", real),
        *((f"density_{tau:g}", real) for tau in tolerances),
        *((f"density_{ulps}_ulps", real) for ulps in Measurement.ULPS),
        *((name, real) for name in (*_VIEWS, *_DYNAMICS)),
        ("n", whole),
        ("steps", whole),
        ("sum_lr", real),
        *((name, text) for name in ("arm", "source")),
        *((name, real) for name in ("budget", "distance_to_source")),
        *((f"{what}_{tau:g}", real) for what in ("equal", "bound") for tau in Measurement.NEAR),
        ("data_nll", real),
        ("data_tokens", whole),
        ("seconds", real),
    ]
    return pa.schema(columns)


def row(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """The row of one run; a failed one has only identity, config and reason."""
    config = run.config
    values: dict[str, Any] = {
        "run_id": run.run_id,
        **run.cell,
        "seed": run.seed,
        "status": result["status"],
        "error": result["error"],
        "model": config.model.name,
        "task": config.task.name,
        "algorithm": config.algorithm.name,
        "precision": config.precision,
        "lr": config.algorithm.lr,
    }
    if result["status"] != "done":
        return values
    for when, scores in result["evaluation"].items():
        for kind, score in scores.items():
            if kind == "sampled":
                values[f"reward_{when}"] = score["reward"]
                values |= {f"{name}_{when}": score.get(name) for name in _ANSWERS}  # sweeps of 0.1.0 may lack them
            values[f"accuracy_{kind}_{when}"] = score["accuracy"]
            values[f"accuracy_{kind}_{when}_se"] = score["accuracy_se"]
            values["eval_n"] = score["n"]
    nll = result["data"]["nll"]
    return values | {
        "export_dtype": result["export_dtype"],
        "init_hash": result["init_hash"],
        "final_hash": result["final_hash"],
        "density_bitwise": result["density"]["bitwise"],
        **{f"density_{tau}": density for tau, density in result["density"]["abs"].items()},
        **{f"density_{ulps}_ulps": density for ulps, density in result["density"]["ulps"].items()},
        **{name: _at(result["views"], path) for name, path in _VIEWS.items()},
        **{name: _at(result["dynamics"], path) for name, path in _DYNAMICS.items()},
        "n": result["n"],
        "steps": result["steps"],
        "sum_lr": result["sum_lr"],
        "kl_to_init": result.get("kl_to_init"),
        **_restriction(result.get("subnetwork")),
        "data_nll": None if nll is None or math.isnan(nll) else nll,
        "data_tokens": result["data"]["tokens"],
        "seconds": result["seconds"]["total"],
    }


def _restriction(found: dict[str, Any] | None) -> dict[str, Any]:
    """What a row says of a restricted run."""
    if found is None:
        return {}
    values = {"arm": found.get("arm"), "source": found.get("source"), "budget": found["k"] / found["n"]}
    if (distance := found.get("distance")) is None:
        return values
    values["distance_to_source"] = distance["relative"]
    for what in ("equal", "bound"):
        values |= {f"{what}_{tau}": share for tau, share in (distance[what] or {}).items()}
    return values


def _at(values: Any, path: Sequence[str]) -> Any:
    for key in path:
        values = values[key]
    return values
