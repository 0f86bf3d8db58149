"""What processes that compute are told by their environment."""

from __future__ import annotations

import os

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


def computing() -> dict[str, str]:
    """Variables of such a process; what the user has set stays."""
    return {name: os.environ.get(name, value) for name, value in _VARIABLES.items()}
