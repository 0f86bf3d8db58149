"""A run whose process is killed while real engines draw for it goes on from its checkpoint, to the same bytes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from subnetray import rollout
from subnetray.config import (
    GRPO,
    ArithmeticTask,
    Checkpointing,
    Cluster,
    EmbeddedModel,
    Evaluation,
    Measurement,
    Rollout,
    RunConfig,
)
from subnetray.driver import cluster
from subnetray.job import RunSpec, launch
from subnetray.store import results

pytestmark = pytest.mark.e2e

ROLLOUT = Rollout(staleness=1)


@pytest.fixture(scope="module")
def engines(tiny: Path) -> Iterator[tuple[str, ...]]:
    cluster.start(Cluster())
    try:
        pool = rollout.start([(tiny, ROLLOUT)])
        pool.wait(300)
        yield pool.names[tiny, ROLLOUT]
    finally:
        cluster.stop()


def test_a_killed_run_goes_on_to_the_same_bytes(tiny: Path, engines: tuple[str, ...], tmp_path: Path) -> None:
    """... in a process of Ray Tune's as it was, and in a worker group of Ray Train's."""
    config = RunConfig(
        model=EmbeddedModel(),
        task=ArithmeticTask(),
        algorithm=GRPO(steps=12, batch_size=32),
        rollout=ROLLOUT,
        evaluation=Evaluation(prompts=64),
        measurement=Measurement(),
    )

    def spec(name: str, every_steps: int = 2, workers: int = 0) -> RunSpec:
        keeping = Checkpointing(every_steps=every_steps)
        return RunSpec("same", config, tiny, tmp_path / name, engines, workers, 1, 0, checkpoint=keeping)

    plain, killed = spec("plain", every_steps=0), spec("killed")
    launch(plain, max_failures=0)

    @ray.remote(num_cpus=1, max_retries=0)
    def start(values: dict[str, Any]) -> None:
        launch(RunSpec.from_dict(values), max_failures=0)

    running = start.remote(killed.to_dict())
    deadline = time.monotonic() + 300
    while not results.checkpoint(killed.directory).is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ray.cancel(running, force=True)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(running)
    assert not killed.result.exists()
    shutil.copytree(killed.directory, tmp_path / "group")
    for kept in (killed, spec("group", workers=1)):
        launch(kept, max_failures=0)
        assert json.loads((kept.directory / results.TIME).read_text())["went_on_from_step"] >= 2
        assert _files(kept.directory) == _files(plain.directory)


def _files(directory: Path) -> dict[str, bytes]:
    times = (results.TIME, results.TIMES)
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name not in times}
