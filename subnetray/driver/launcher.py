"""What a launcher of several processes leaves in the environment of a driver, which is one and starts its own."""

from __future__ import annotations

import os
import re

from subnetray.config import ConfigError

# What launchers of several processes leave in a shell or a container, for libraries that take a process which has it
# for one of these. Where a sweep's processes are several, Ray Train says so itself, later and to each of them.
_LAUNCHED = re.compile(
    "|".join(
        (
            # torchrun, PyTorchJob: torch.distributed waits at MASTER_ADDR for others, transformers picks a GPU.
            "(RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|NODE_RANK|MASTER_ADDR|MASTER_PORT)",
            "(GROUP|ROLE)_(RANK|WORLD_SIZE|NAME)",
            # torchrun's own, and its options: a store that it would use in place of one that is made.
            "(TORCHELASTIC|PET)_.*",
            # accelerate launch: precision, sharding and devices of a config file, applied to every Trainer.
            "(ACCELERATE|FSDP|PARALLELISM_CONFIG|DEEPSPEED|MEGATRON_LM)_.*",
            # mpirun and srun --mpi: accelerate takes ranks from them on CPUs. (Slurm's own variables nobody reads.)
            "(OMPI_COMM_WORLD|MV2_COMM_WORLD|PMI|PMIX)_.*",
        )
    )
)
_RANKS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)


def check() -> None:
    """Raise ConfigError if a launcher has started this process as one of several, and not as their first."""
    for rank, size in _RANKS:
        if _number(rank) > 0 and _number(size) > 1:
            raise ConfigError(
                f"{rank}={os.environ[rank]} of {size}={os.environ[size]}: a launcher has started this command several"
                f" times, and it starts its own processes: start it once, without the launcher (or unset {rank})"
            )


def forget() -> None:
    """Drop it in this process's environment, from which those that it starts have theirs."""
    for name in [name for name in os.environ if _LAUNCHED.fullmatch(name)]:
        del os.environ[name]


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0
