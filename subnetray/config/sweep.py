"""A sweep: the grid around a run, and where and how it executes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from subnetray.config.checks import ConfigError, at_least, expand_home, one_of, positive, require
from subnetray.config.run import RunConfig


@dataclass(frozen=True)
class Cluster:
    """Where runs execute: resources of one run, and the Ray cluster that they are scheduled on."""

    address: str | None = None  # null starts Ray on this machine; "auto" joins a running cluster
    # Data-parallel workers of one run. 0 is Ray Train's local mode: the run trains in its (warm) trial process.
    workers: int = 0
    # none: each worker holds the whole model. full: a part of weights, gradients and optimizer state (FSDP).
    sharding: str = "none"
    cpus_per_run: float = 1.0  # that Ray sets aside for a run, or for each of its workers
    gpus_per_worker: float = 0.0  # likewise, of a run where it has no workers
    max_concurrent: int | None = None  # null: as many as the cluster's CPUs and GPUs allow
    max_failures: int = 1  # times a crashed run is started again
    memory_gib_per_run: float = 2.0  # with which the command sees whether runs fit into this machine

    SHARDING: ClassVar[tuple[str, ...]] = ("none", "full")

    def __post_init__(self) -> None:
        at_least("cluster.workers", self.workers, 0)
        one_of("cluster.sharding", self.sharding, self.SHARDING)
        if self.sharded:
            require(self.workers >= 2, "cluster.workers", "at least 2 with cluster.sharding=full", self.workers)
        positive("cluster.cpus_per_run", self.cpus_per_run)
        at_least("cluster.gpus_per_worker", self.gpus_per_worker, 0)
        if self.max_concurrent is not None:
            at_least("cluster.max_concurrent", self.max_concurrent, 1)
        at_least("cluster.max_failures", self.max_failures, 0)
        positive("cluster.memory_gib_per_run", self.memory_gib_per_run)

    @property
    def sharded(self) -> bool:
        """Return whether the workers of a run share one copy of its model."""
        return self.sharding == "full"


@dataclass(frozen=True)
class Checkpointing:
    """A run is kept so often, whichever comes first, to go on where it was interrupted; 0: never."""

    every_steps: int = 0  # optimizer steps
    every_minutes: float = 0.0  # of training

    def __post_init__(self) -> None:
        at_least("checkpoint.every_steps", self.every_steps, 0)
        at_least("checkpoint.every_minutes", self.every_minutes, 0)

    @property
    def wanted(self) -> bool:
        """Return whether any is written."""
        return self.every_steps > 0 or self.every_minutes > 0


@dataclass(frozen=True)
class Reporting:
    """The report of a sweep while it runs."""

    # Whether report.html is written again as runs end, as a page that loads itself again until the sweep has ended.
    live: bool = False


@dataclass(frozen=True)
class Tracking:
    """W&B: ``offline`` writes local run files that ``wandb sync`` uploads; ``online``; ``disabled``."""

    mode: str = "offline"  # offline: files that `wandb sync` uploads
    project: str = "subnetray"  # of W&B
    entity: str | None = None  # the user or team of W&B; null: the account's own
    # Whether to log what of processors, memory and GPUs is in use; null: where runs or engines use GPUs.
    system: bool | None = None
    # Whether to log commit and uncommitted changes of the checkout that the sweep's directory is in, if it is in one.
    git: bool = True

    def __post_init__(self) -> None:
        one_of("tracking.mode", self.mode, ("offline", "online", "disabled"))
        ok = 0 < len(self.project) <= 128 and not set(self.project) & set("/\\#?%:")
        want = "a W&B project name, of at most 128 characters without any of / \\ # ? % :"
        require(ok and self.project.isprintable(), "tracking.project", want, self.project)


@dataclass(frozen=True)
class Factor:
    """What a grid varies: each level is a list of Hydra overrides; cells that do not vary it take the baseline."""

    about: str = ""
    baseline: str = ""
    levels: dict[str, list[str]] = field(default_factory=dict)
    block: bool = False  # its levels are replicates, as other inits of one kind: no effect of it is asked for


@dataclass(frozen=True)
class Grid:
    """Factors, their levels and the design: one factor at a time around the baseline, plus crossings."""

    name: str = ""
    about: str = ""  # the question, with which the report begins
    seeds: list[int] = field(default_factory=lambda: [0])  # each cell is run with each
    # By name: a baseline and levels, each a list of Hydra overrides (about: what it is; block: levels are replicates).
    factors: dict[str, Factor] = field(default_factory=dict)
    # Hydra overrides that hold in every cell, such as the size of the runs; a command line's go before them.
    overrides: list[str] = field(default_factory=list)
    one_at_a_time: list[str] = field(default_factory=list)  # factors to vary alone, around the baseline
    # Each crossing names factors and the levels of each that are crossed.
    crossed: list[dict[str, list[str]]] = field(default_factory=list)
    # Of each crossing all cells (full), or a fraction of them of a resolution; blocks are always crossed in full.
    design: str = "full"
    # Pairs of factors whose interaction the design must be able to tell from other effects; [] asks for none.
    interactions: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class SweepConfig:
    """What one command line composes to: a run's config, the grid around it, and where and how it executes."""

    run: RunConfig
    grid: Grid | None
    cluster: Cluster
    tracking: Tracking
    out: str | None
    cache: str | None
    dry_run: bool
    resume: str
    store: str | None = None
    on_failed_runs: str = "exit1"
    checkpoint: Checkpointing = Checkpointing()
    report: Reporting = Reporting()

    RESUME: ClassVar[tuple[str, ...]] = ("auto", "never", "must")
    ON_FAILED_RUNS: ClassVar[tuple[str, ...]] = ("exit1", "exit0")

    def __post_init__(self) -> None:
        one_of("resume", self.resume, self.RESUME)
        one_of("on_failed_runs", self.on_failed_runs, self.ON_FAILED_RUNS)
        if self.checkpoint.wanted and self.cluster.workers > 1:
            raise ConfigError(
                "checkpoint.every_steps and checkpoint.every_minutes must be 0 with cluster.workers="
                f"{self.cluster.workers}: only runs of one worker are kept"
            )
        for key in ("out", "cache", "store"):
            require(getattr(self, key) != "", key, "a directory", getattr(self, key))
        expand_home(self, "", "out", "cache", "store")
        if self.out is not None:
            require("://" not in self.out, "out", "a directory on a file system that all nodes share", self.out)

    def exit_code(self, failed: int) -> int:
        """Return the exit code of a sweep that has ended and of which so many runs failed."""
        return 1 if failed and self.on_failed_runs == "exit1" else 0

    @property
    def tracker(self) -> Tracking:
        """Return how runs are tracked, with what follows from where they are run."""
        gpus = self.cluster.gpus_per_worker > 0 or self.run.rollout.gpus_per_engine > 0
        return self.tracking if self.tracking.system is not None else dataclasses.replace(self.tracking, system=gpus)

    @property
    def directory(self) -> Path:
        """Where the results go, absolute; of a sweep that has a grid or names a directory."""
        name = "" if self.grid is None else self.grid.name
        return Path(self.out or f"outputs/{name}").absolute()

    @property
    def store_directory(self) -> Path | None:
        """The absolute directory that keeps finished runs of many sweeps."""
        return None if self.store is None else Path(self.store).absolute()
