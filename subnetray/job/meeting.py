"""Let a run's workers on one machine meet by a file that only their user can read.

Ray Train's own way is a store of torch's in the first of them, which listens on all interfaces of the machine and
answers anyone. Ray must have been started before this is imported.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import ray.train.torch
import torch.distributed
from ray.train.torch import TorchConfig

_Backend: Any = TorchConfig().backend_cls


@dataclass
class FileConfig(TorchConfig):
    """Ray Train's config, but that workers meet by a file in ``directory``."""

    directory: str = ""

    @property
    def backend_cls(self) -> type[Any]:
        return _FileBackend


class _FileBackend(_Backend):
    def on_start(self, worker_group: Any, backend_config: FileConfig) -> None:
        """Called once the workers have started, and again for those that take their place."""
        place = f"file://{backend_config.directory}/run-{uuid.uuid4().hex}"
        backend, timeout_s = backend_config.backend or "gloo", backend_config.timeout_s
        # All at once: each waits for the others.
        ray.get(worker_group.execute_async(_meet, place=place, backend=backend, timeout_s=timeout_s))


def _meet(place: str, backend: str, timeout_s: int) -> None:
    context = ray.train.get_context()
    # What torchrun tells its workers, but for an address.
    os.environ |= {
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "NODE_RANK": str(context.get_node_rank()),
        "ACCELERATE_TORCH_DEVICE": str(ray.train.torch.get_device()),
    }
    torch.distributed.init_process_group(
        backend,
        init_method=place,
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        timeout=timedelta(seconds=timeout_s),
    )
