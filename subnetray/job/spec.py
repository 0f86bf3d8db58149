"""What a run is told: plain data that crosses process boundaries, and where its files are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from subnetray.config import Checkpointing, RunConfig
from subnetray.store import results


@dataclass(frozen=True)
class RunSpec:
    """One run, resolved: its config, the directory its init lies in, its own directory, the engines that serve it.

    ``source``: the directory of the run that its mask is made of, if an arm names its mask.
    """

    run_id: str
    config: RunConfig
    init: Path
    directory: Path
    engines: tuple[str, ...]
    workers: int  # of Ray Train; 0: local mode, in the calling process
    cpus_per_worker: float
    gpus_per_worker: float
    source: Path | None = None
    sharded: bool = False  # whether its workers share one copy of the model
    checkpoint: Checkpointing = field(default_factory=Checkpointing)

    @property
    def metrics(self) -> Path:
        """One JSON object a step, written as the run goes."""
        return self.directory / results.METRICS

    @property
    def times(self) -> Path:
        """One JSON object a step: what differs from one execution of the run to the next."""
        return self.directory / results.TIMES

    @property
    def result(self) -> Path:
        """Written last: a run is finished if and only if this file says so."""
        return self.directory / results.RESULT

    @property
    def mask(self) -> Path:
        return self.directory / results.MASK

    @property
    def delta(self) -> Path:
        return self.directory / results.DELTA

    def scores(self, step: int) -> Path:
        """The scores of all coordinates after a step of ``measurement.early``."""
        return self.directory / f"early-{step}.safetensors"

    @property
    def restriction(self) -> Path:
        """The mask that a restricted run trained in."""
        return self.directory / results.RESTRICTION

    def to_dict(self) -> dict[str, Any]:
        """Plain values only."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {
            "config": self.config.to_dict(),
            "init": str(self.init),
            "directory": str(self.directory),
            "engines": list(self.engines),
            "source": None if self.source is None else str(self.source),
            "checkpoint": dataclasses.asdict(self.checkpoint),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunSpec:
        """Inverse of :meth:`to_dict`."""
        return cls(
            **values
            | {
                "config": RunConfig.from_dict(values["config"]),
                "init": Path(values["init"]),
                "directory": Path(values["directory"]),
                "engines": tuple(values["engines"]),
                "source": None if values["source"] is None else Path(values["source"]),
                "checkpoint": Checkpointing(**values["checkpoint"]),
            }
        )
