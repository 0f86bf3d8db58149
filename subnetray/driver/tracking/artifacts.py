"""Log a run's lineage as artifacts by reference. Of W&B's own process, as it needs W&B."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger(__name__)


def log(run: Any, lineage: Mapping[str, Any] | None) -> None:
    """Log what a W&B run used and made; nothing without a lineage."""
    for node in (lineage or {}).get("used", ()):
        use(run, _artifact(node))
    for node in (lineage or {}).get("logged", ()):
        run.log_artifact(_artifact(node))


def use(run: Any, artifact: Any) -> None:
    """Log an artifact that a run uses, which nobody may have logged yet.

    Public is ``use_artifact`` alone (wandb 0.31), which refuses to work offline, though what it calls for such an
    artifact does not: the record that it writes is made into the artifact and its use when it is synced. Without that
    the artifact is logged as one that the run made.
    """
    if (inner := getattr(run, "_log_artifact", None)) is not None:
        inner(artifact, is_user_created=True, use_after_commit=True)
    else:
        _log.warning("wandb has no Run._log_artifact: what a run used is logged as what it made")
        run.log_artifact(artifact)


def _artifact(node: Mapping[str, Any]) -> Any:
    import wandb

    artifact = wandb.Artifact(node["name"], type=node["kind"], metadata=dict(node["metadata"]))
    for uri in node["files"]:
        # Weights are not read for their hash, which the name has.
        artifact.add_reference(uri, checksum=not node["large"])
    return artifact
