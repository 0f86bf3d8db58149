"""Starting a run: Ray Train's local mode in this process, or a worker group of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from subnetray.files import write_atomic
from subnetray.job.spec import RunSpec
from subnetray.process.environment import SESSION, forget_launcher
from subnetray.process.libraries import load
from subnetray.store import results
from subnetray.text import clean, reason

if TYPE_CHECKING:
    from ray.train.torch import TorchConfig


# What a disk says that is full, or has turned read-only.
_TAKES_NOTHING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def launch(spec: RunSpec, max_failures: int) -> None:
    """Run ``spec`` to its end. Its result, done or failed with a reason, is in ``spec.result`` afterwards.

    What a retry could mend (a lost worker or engine) is raised, after Ray Train has tried ``max_failures`` times itself
    where the run has a worker group; every other error is the run's own and is recorded as its reason.
    """
    if not spec.workers:  # Ray Train then tells this process nothing of ranks, but the shell of its node might
        forget_launcher()
    load("ray.train.torch", "subnetray.rollout")
    import ray.train
    from ray.train.torch import TorchTrainer

    from subnetray.rollout import EngineError

    spec.directory.mkdir(parents=True, exist_ok=True)
    storage = spec.directory / ".train"
    trainer = TorchTrainer(
        _loop,
        train_loop_config=spec.to_dict(),
        torch_config=_process_group() if spec.workers else None,
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
    except BaseException as error:
        # Whatever a run raises is its result: the reason is recorded, and the other runs go on. What is no Exception,
        # Tune would take for the end of a run that is well, or of its own process.
        failure(spec, reason(error))
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _process_group() -> TorchConfig | None:
    """Return how workers find each other: by a file where all are on this machine, else Ray Train's way, by a port."""
    directory = os.environ.get(SESSION)
    if directory is None:
        return None
    from subnetray.job.meeting import FileConfig

    return FileConfig(directory=directory)


def failure(spec: RunSpec, why: str) -> None:
    """Record that the run failed, and why, in a line that is cut where it is long; beside it only its config stays.

    On a disk that takes nothing more, which may be why it failed, it is left without a result: it has failed then too.
    """
    try:
        spec.directory.mkdir(parents=True, exist_ok=True)
        results.clear(spec.directory)
        write_atomic(spec.directory / results.CONFIG, yaml.safe_dump(spec.config.to_dict(), sort_keys=False))
        results.write(spec.directory, {"run_id": spec.run_id, "status": "failed", "error": clean(why)})
    except OSError as error:
        if error.errno not in _TAKES_NOTHING:
            raise


def _loop(values: dict[str, Any]) -> None:
    start = time.perf_counter()
    with _to_its_end():
        # The driver logs to W&B, and TRL would; transformers imports SciPy's optimizers for losses of object detection.
        load("subnetray.job.run", without=["wandb", "scipy"])
        from subnetray.job.run import run

        run(values, import_s=time.perf_counter() - start)


@contextlib.contextmanager
def _to_its_end() -> Iterator[None]:
    """Make an error of what would end the process, or the run without a word: nothing but a run's code raises it."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        place = f"{frame.f_code.co_filename}, line {line}"
        raise RuntimeError(f"{error!r} in {place}: nothing that a run calls may end its process") from None


def _resources(spec: RunSpec) -> dict[str, float]:
    resources = {"CPU": spec.cpus_per_worker}
    return resources | {"GPU": spec.gpus_per_worker} if spec.gpus_per_worker else resources
