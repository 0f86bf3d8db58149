"""Set the environment of processes that compute, and drop what they must not be told."""

from __future__ import annotations

import os
import re

# The private directory of the driver whose process this is: every process that a driver starts on its own machine has
# it, and none on another.
SESSION = "SUBNETRAY_SESSION"

_VARIABLES = {
    # Processes that share cores must not each start a thread a core.
    "OMP_NUM_THREADS": "1",
    # glibc gives memory back to the system as soon as a tensor of some 128 KiB is freed, and is given it page by page
    # when the next one is made: a tenth of a training step of a small model. Beyond 32 MiB it may.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    # It gives every new thread, as each run is, memory of its own beside what those before it have left: 64 MiB a run.
    "MALLOC_ARENA_MAX": "1",
}

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


def computing() -> dict[str, str]:
    """Variables of such a process; what the user has set stays."""
    return {name: os.environ.get(name, value) for name, value in _VARIABLES.items()}


def forget_launcher() -> None:
    """Drop what a launcher has left in this process's environment, from which those that it starts have theirs."""
    for name in [name for name in os.environ if _LAUNCHED.fullmatch(name)]:
        del os.environ[name]
