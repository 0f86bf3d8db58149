"""Starting a run: Ray Train's local mode in this process, or a worker group of its own."""

from __future__ import annotations

import shutil
import time
from typing import Any

import yaml

from subnetray.files import write_atomic
from subnetray.job.spec import RunSpec
from subnetray.libraries import load
from subnetray.store import results


def launch(spec: RunSpec, max_failures: int) -> None:
    """Run ``spec`` to its end. Its result, done or failed with a reason, is in ``spec.result`` afterwards.

    What a retry could mend (a lost worker or engine) is raised, after Ray Train has tried ``max_failures`` times itself
    where the run has a worker group; every other error is the run's own and is recorded as its reason.
    """
    load("ray.train.torch", "subnetray.rollout")
    import ray.train
    from ray.train.torch import TorchTrainer

    from subnetray.rollout import EngineError

    spec.directory.mkdir(parents=True, exist_ok=True)
    storage = spec.directory / ".train"
    trainer = TorchTrainer(
        _loop,
        train_loop_config=spec.to_dict(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=spec.workers,
            use_gpu=spec.gpus_per_worker > 0,
            resources_per_worker=_resources(spec) if spec.workers else None,
        ),
        run_config=ray.train.RunConfig(
            name=spec.run_id,
            storage_path=str(storage.absolute()),
            failure_config=ray.train.FailureConfig(max_failures=max_failures if spec.workers else 0),
        ),
    )
    try:
        trainer.fit()
    except (ray.exceptions.RayError, EngineError):
        raise
    except Exception as error:
        # Whatever a run raises is its result: the reason is recorded, and the other runs go on.
        failure(spec, reason(error))
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def failure(spec: RunSpec, reason: str) -> None:
    """Record that the run failed, and why; nothing else of it stays but its config."""
    spec.directory.mkdir(parents=True, exist_ok=True)
    results.clear(spec.directory)
    write_atomic(spec.directory / results.CONFIG, yaml.safe_dump(spec.config.to_dict(), sort_keys=False))
    results.write(spec.directory, {"run_id": spec.run_id, "status": "failed", "error": reason})


def reason(error: BaseException) -> str:
    """The innermost error, as one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else 'no message'}"


def _loop(values: dict[str, Any]) -> None:
    start = time.perf_counter()
    load("subnetray.job.run", without=["wandb"])  # to which the driver logs, and TRL would
    from subnetray.job.run import run

    run(values, import_s=time.perf_counter() - start)


def _resources(spec: RunSpec) -> dict[str, float]:
    resources = {"CPU": spec.cpus_per_worker}
    return resources | {"GPU": spec.gpus_per_worker} if spec.gpus_per_worker else resources
