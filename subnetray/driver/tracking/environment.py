"""The environment that W&B is given: who logs and where to, and nothing that names, groups or resumes runs."""

from __future__ import annotations

import os
from collections.abc import Mapping

# All else that begins with WANDB_ is dropped: agents, launchers and other programs set there what holds for a run of
# theirs (WANDB_RUN_ID, WANDB_SWEEP_ID, WANDB_RUN_GROUP, WANDB_NAME, WANDB_RESUME, WANDB_MODE, WANDB_SERVICE ...).
# WANDB_ENTITY belongs to the account, and holds where tracking.entity is not set. WANDB_PROJECT has no effect:
# tracking.project always names one.
_KEPT = frozenset(
    {
        "WANDB_API_KEY",
        "WANDB_APP_URL",
        "WANDB_BASE_URL",
        "WANDB_CACHE_DIR",
        "WANDB_CONFIG_DIR",
        "WANDB_CREDENTIALS_FILE",
        "WANDB_DATA_DIR",
        "WANDB_ENTITY",
        "WANDB_HTTP_TIMEOUT",
        "WANDB_IDENTITY_TOKEN_FILE",
        "WANDB_INSECURE_DISABLE_SSL",
        "WANDB_USERNAME",
    }
)


def environment(inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of W&B's process."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("WANDB_") or name in _KEPT}
    # Reports of its own errors go to another server, whose silence would hold up the end of each run.
    return kept | {"WANDB_ERROR_REPORTING": "false"}
